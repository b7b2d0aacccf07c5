"""The pointing loss against loops over images, prototypes and pixels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scaleprotoseg.training.losses.class_cells import OwnPrototypes
from scaleprotoseg.training.losses.pointing import Pointing, part_fractions


def pointing_by_loops(similarities, parts, labels, prototype_class, part_of):
    """One minus the correlation of each prototype with its part, image by image and pixel by pixel."""
    terms = []
    rows, columns = labels.shape[1:]
    for image, shown, classes in zip(similarities, parts.tolist(), labels, strict=True):
        tall, wide = len(shown) / rows, len(shown[0]) / columns
        for values, label, part in zip(image, prototype_class.tolist(), part_of.tolist(), strict=True):
            fraction = torch.zeros_like(values)
            for y, line in enumerate(shown):
                for x, here in enumerate(line):
                    fraction[int(y / tall), int(x / wide)] += (here == part != 0) / (tall * wide)
            cells = classes == label
            if cells.sum() >= 6 and fraction[cells].sum() > 0:
                a, b = (maps[cells] - maps[cells].mean() for maps in (values, fraction))
                terms.append(1 - (a * b).mean() / ((a.square().mean() + 1e-4) * (b.square().mean() + 1e-4)).sqrt())
    return torch.stack(terms).mean() if terms else similarities.sum() * 0


@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_pointing_equals_the_loops(data, seed):
    generator = torch.Generator().manual_seed(seed)
    kinds = data.draw(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 3)), min_size=1))
    prototype_scale, prototype_class, part_of = torch.tensor(kinds).T
    labels = torch.randint(0, 4, (2, 4, 5), generator=generator)
    labels[labels == 3] = 255
    parts = torch.randint(0, 6, (2, 12, 10), generator=generator, dtype=torch.uint8)
    parts[:, data.draw(st.integers(0, 12)) :] = 0
    maps = torch.rand(2, len(kinds), 4, 5, generator=generator, dtype=torch.double).requires_grad_()
    ours = Pointing(OwnPrototypes(prototype_class, prototype_scale, 3), part_of)(maps, parts, labels)
    loops = pointing_by_loops(maps, parts, labels, prototype_class, part_of)
    torch.testing.assert_close(ours, loops, rtol=1e-6, atol=1e-7)
    grads = [torch.autograd.grad(loss, maps, retain_graph=True)[0] for loss in (ours, loops)]
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-7)


def test_prototypes_on_their_parts_have_no_loss():
    kinds, labels = torch.zeros(2, dtype=torch.long), torch.zeros(1, 2, 4, dtype=torch.long)
    loss = Pointing(OwnPrototypes(kinds, kinds, 1), torch.tensor([1, 2]))
    parts = torch.tensor([[[0, 1, 1, 1], [2, 2, 2, 0]]], dtype=torch.uint8)
    on = torch.stack([parts == 1, parts == 2], 1).float()
    assert float(loss(on, parts, labels)) == pytest.approx(0, abs=1e-3)
    assert float(loss(-on, parts, labels)) == pytest.approx(2, abs=1e-3)
    assert float(loss(on, torch.zeros_like(parts), labels)) == 0


@pytest.mark.parametrize("size", [(2, 2), (3, 5), (4, 6), (7, 11)])
def test_fractions_of_parts_add_up_to_their_pixels(size):
    parts = torch.randint(0, 9, (2, 7, 11), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    fractions = part_fractions(parts, 6, size)
    assert fractions.shape == (2, 7, *size) and not fractions[:, 0].any()
    for part in range(1, 7):
        pixels = fractions[:, part].sum(dim=(1, 2)) * 77 / (size[0] * size[1])
        torch.testing.assert_close(pixels, (parts == part).sum(dim=(1, 2)).float())
