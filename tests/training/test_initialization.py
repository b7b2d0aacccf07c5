"""Initial pyramid and prototypes from training patches."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

from scaleprotoseg.data.labels import VOID
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.training.initialization import BETWEEN, Patches, _directions, initialize
from tests.builders.images import Toys
from tests.builders.networks import small_network


def random_patches(count: int = 400, channels: int = 12) -> Patches:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 4
    mix = torch.randn(channels, channels, generator=generator)
    centers = torch.randn(4, channels, generator=generator)
    features = torch.randn(count, channels, generator=generator) @ mix + centers[labels] + 5
    noise = torch.randn(count, channels, generator=generator) * torch.linspace(0, 3, channels)
    masked = torch.randn(50, channels, generator=generator) * torch.linspace(2, 0, channels)
    return Patches(features, labels, noise, masked)


def test_directions_are_those_of_the_generalized_eigenvalue_problem():
    patches = random_patches()
    rows, bias = _directions(patches, 4, 8)
    features, labels = patches.features.double().numpy(), patches.labels.numpy()
    centers = np.stack([features[labels == label].mean(axis=0) for label in range(4)])
    within = np.cov((features - centers[labels]).T, bias=True)
    disturbed = within + 2 * (patches.noise.T @ patches.noise / len(labels)).double().numpy()
    disturbed += (patches.masked.T @ patches.masked / len(patches.masked)).double().numpy()
    disturbed += 1e-3 * np.diag(disturbed).mean() * np.eye(12)
    between = np.cov(centers.T, bias=True)
    _, vectors = scipy.linalg.eigh(between, disturbed)
    for ours, expected in zip(rows[:3].double().numpy(), vectors.T[::-1], strict=False):
        cosine = abs(ours @ expected) / np.linalg.norm(ours) / np.linalg.norm(expected)
        assert cosine == pytest.approx(1, abs=1e-4)
        assert ours @ disturbed @ ours == pytest.approx(BETWEEN**2, rel=1e-4)
    assert float((patches.features @ rows.T + bias).mean()) == pytest.approx(0, abs=1e-4)


def test_channels_without_a_direction_are_zero():
    rows, _ = _directions(random_patches(channels=5), 4, 16)
    assert rows.shape == (16, 5) and rows[:8].any(dim=1).all() and not rows[8:].any()


@pytest.mark.parametrize(("fuse", "noise", "window"), [("keep", 0.0, 0), ("keep", 0.2, 2), ("sum", 0.2, 2)])
def test_initial_prototypes_tell_the_classes_apart(fuse, noise, window):
    network, data = small_network(fuse).eval(), Toys(8)
    fresh = small_network(fuse).eval()
    initialize(network, data, noise, window, seed=0)
    assert correct(network, data) > max(0.75, correct(fresh, data) + 0.1)
    again = small_network(fuse).eval()
    initialize(again, data, noise, window, seed=0)
    assert torch.equal(again.prototype_head.prototypes.vectors, network.prototype_head.prototypes.vectors)


def test_a_class_without_pixels_keeps_its_prototypes():
    network = small_network().eval()
    layer = network.prototype_head.prototypes
    before = layer.vectors.detach().clone()
    initialize(network, WithoutBars(4), 0.0, 0, seed=0)
    changed = (layer.vectors.detach() != before).any(dim=1)
    assert torch.equal(changed, layer.prototype_class != 2)


class WithoutBars(Toys):
    """Toys whose bars are not labeled."""

    def __getitem__(self, index: int):
        sample = super().__getitem__(index)
        sample.mask[sample.mask == 2] = VOID
        return sample


def correct(network: nn.Module, data: Toys) -> float:
    """Mean over the classes of the fraction of their cells whose most similar prototype is of the class."""
    classes = network.prototype_head.prototypes.prototype_class
    hits: dict[int, list[bool]] = {}
    for sample in data:
        image = torch.tensor(np.asarray(sample.image)).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            similarities = network(image).similarities[0]
        labels = resize_labels(torch.from_numpy(sample.mask)[None], similarities.shape[-2:])[0]
        for best, label in zip(
            classes[similarities.argmax(dim=0)].flatten().tolist(), labels.flatten().tolist(), strict=True
        ):
            if label != VOID:
                hits.setdefault(label, []).append(best == label)
    return float(np.mean([np.mean(values) for values in hits.values()]))
