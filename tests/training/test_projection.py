"""Projection puts prototypes onto training patches, merges equal ones and names their sources."""

from __future__ import annotations

import pytest
import torch

from scaleprotoseg.data.labels import VOID
from scaleprotoseg.inference.nearest_patches import nearest_patches
from scaleprotoseg.inference.tiles import to_tensor
from scaleprotoseg.training.projection import project
from tests.builders.images import Toys, WideToys
from tests.builders.networks import small_network


def test_projection_moves_prototypes_onto_their_patches():
    network, dataset = small_network(), Toys(5)
    project(network, dataset)
    after = nearest_patches(network, dataset)
    assert float(after.distance.max()) < 1e-5
    layer = network.prototypes
    for index, source in enumerate(network.sources):
        assert source is not None and source.image in dataset.sample_names
        sample = dataset[dataset.sample_names.index(source.image)]
        row, column = source.cell
        rows, columns = (int(v) for v in after.grid[index, 0])
        y, x = int((row + 0.5) * sample.mask.shape[0] / rows), int((column + 0.5) * sample.mask.shape[1] / columns)
        assert sample.mask[y, x] == layer.prototype_class[index]
        left, top, right, bottom = source.box
        assert left <= x < right and top <= y < bottom
        assert source.png.startswith(b"\x89PNG")


def test_prototypes_on_one_patch_become_one_and_scores_stay():
    network, dataset = small_network(), Toys(2)
    layer = network.prototypes
    with torch.no_grad():
        layer.vectors[1] = layer.vectors[0] + 1e-4
        network.head.classifier.normal_()
    count = len(layer)
    unmerged = small_network()
    with torch.no_grad():
        unmerged.head.classifier.copy_(network.head.classifier)
        unmerged.head.prototypes.vectors.copy_(nearest_patches(network, dataset).latent[:, 0])
    project(network, dataset)
    assert len(network.prototypes) < count
    image = to_tensor(dataset[0].image, network.config.input)[None]
    with torch.no_grad():
        torch.testing.assert_close(network(image).logits, unmerged(image).logits, atol=1e-4, rtol=1e-4)
    nearest = nearest_patches(network, dataset)
    places = list(
        zip(
            network.prototypes.prototype_class.tolist(), network.prototypes.prototype_scale.tolist(),
            nearest.image[:, 0].tolist(), nearest.cell[:, 0].tolist(), strict=True,
        )
    )  # fmt: skip
    assert len(set(places)) == len(places)


def test_a_class_without_pixels_keeps_its_prototypes_without_source(caplog):
    class NoBars(Toys):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            sample.mask[sample.mask == 2] = VOID
            return sample

    network = small_network()
    project(network, NoBars(2))
    missing = [source is None for source in network.sources]
    assert missing == (network.prototypes.prototype_class == 2).tolist()
    assert "without training pixels" in caplog.text


@pytest.mark.parametrize(("scales", "cells"), [((), 3), ((0.5,), 5), ((0.75, 0.6), 5)])
def test_sources_show_what_the_smallest_reading_of_an_image_reads(scales, cells):
    network, dataset = small_network(scales=scales), WideToys(2)
    project(network, dataset)
    widths = set()
    for source, scale in zip(network.sources, network.prototypes.prototype_scale.tolist(), strict=True):
        left, _, right, _ = source.box
        if scale == 0 and left > 0 and right < source.image_size[0]:
            widths.add(right - left)
    assert widths == {8 * cells}
