"""Noisy and masked copies of training images, and the locality loss on them."""

from __future__ import annotations

import pytest
import torch

from scaleprotoseg.data.labels import VOID
from scaleprotoseg.model.prototypes import PrototypeLayer
from scaleprotoseg.training.copies import best_cells, masked_copy, noisy_copy
from scaleprotoseg.training.losses.class_cells import OwnPrototypes
from scaleprotoseg.training.losses.locality import Locality, cells_in_windows


def random(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3))


def test_a_masked_copy_shows_only_its_window():
    images, mean = random(3, 3, 40, 48), torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    masked = masked_copy(images, torch.tensor([0, 2 * 6 + 3, -1]), (5, 6), 1, mean)
    windows = [(slice(0, 16), slice(0, 16)), (slice(8, 32), slice(16, 40)), (slice(0, 0), slice(0, 0))]
    for one, image, (rows, columns) in zip(masked, images, windows, strict=True):
        expected = mean.expand_as(image).clone()
        expected[:, rows, columns] = image[:, rows, columns]
        assert torch.equal(one, expected)


def test_noise_is_that_of_the_generator_on_the_normalized_image():
    images, std = torch.zeros(2, 3, 50, 50), torch.tensor([0.5, 1.0, 2.0])[:, None, None]
    noisy = noisy_copy(images, 0.2, std, torch.Generator().manual_seed(0))
    assert torch.equal(noisy, noisy_copy(images, 0.2, std, torch.Generator().manual_seed(0)))
    torch.testing.assert_close(noisy.std(dim=(0, 2, 3)), torch.tensor([0.1, 0.2, 0.4]), rtol=0.05, atol=0)


def test_best_cells_are_the_most_similar_of_a_class_with_prototypes():
    layer = PrototypeLayer(torch.tensor([0, 2, 2]), torch.tensor([0, 0, 0]), 4, 1)
    similarities = random(40, 3, 4, 5)
    labels = torch.randint(0, 3, (40, 4, 5), generator=torch.Generator().manual_seed(1))
    labels[0], labels[1] = 1, VOID  # without prototypes
    cells = best_cells(similarities, labels, layer, torch.Generator().manual_seed(0))
    assert cells[:2].tolist() == [-1, -1]
    chosen = set()
    for maps, mask, cell in zip(similarities[2:].flatten(2), labels[2:].flatten(1), cells[2:].tolist(), strict=True):
        label = int(mask[cell])
        own = [index for index in range(3) if int(layer.prototype_class[index]) == label]
        best = {int(maps[index].masked_fill(mask != label, -1).argmax()): index for index in own}
        chosen.add(best[cell])
    assert chosen == {0, 1, 2}


def slow_locality(similarities, masked, labels, centers, classes):
    """The loss as written in its documentation, cell by cell."""
    losses = []
    for image, center in enumerate(centers.tolist()):
        if center < 0:
            continue
        row, column = divmod(center, labels.shape[2])
        label = int(labels[image, row, column])
        for y in range(max(0, row - 1), min(labels.shape[1], row + 2)):
            for x in range(max(0, column - 1), min(labels.shape[2], column + 2)):
                for prototype in range(len(classes)):
                    if labels[image, y, x] == label and classes[prototype] == label:
                        left = masked[image, prototype, y, x] / similarities[image, prototype, y, x]
                        losses.append(max(0.0, 1 - float(left)))
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("centers", [[0, 7, -1], [19, 4, 11], [-1, -1, -1]])
def test_locality_is_the_mean_loss_of_similarity(centers):
    classes, scales = torch.tensor([0, 0, 1, 0, 1]), torch.tensor([0, 0, 0, 1, 1])
    own = OwnPrototypes(classes, scales, 2)
    similarities, masked = random(3, 5, 4, 5) + 0.1, random(3, 5, 4, 5).flip(0).requires_grad_()
    labels = torch.randint(0, 2, (3, 4, 5), generator=torch.Generator().manual_seed(2))
    loss = Locality(own)(similarities, masked, labels, torch.tensor(centers))
    expected = slow_locality(similarities, masked.detach(), labels, torch.tensor(centers), classes.tolist())
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert masked.grad is not None and masked.grad.isfinite().all()
    assert bool(masked.grad.any()) == bool(expected)


def test_cells_in_windows_are_inside_the_image():
    image, cell = cells_in_windows(torch.tensor([19]), torch.zeros(1, 4, 5, dtype=torch.long))
    assert image.tolist() == [0] * 4 and sorted(cell.tolist()) == [13, 14, 18, 19]
