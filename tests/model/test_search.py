"""The streaming search and the projection against a plain search over everything at once."""

from __future__ import annotations

import pytest
import torch

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.data.labels import VOID
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, InputConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.inference import to_tensor
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.search import nearest_patches
from scaleprotoseg.training.projection import project
from tests.toys import LABELS, Toys, picture


def small_network(fuse="keep", **changes) -> Network:
    torch.manual_seed(0)
    config = NetworkConfig(
        EncoderConfig("resnet10t", stage=2),
        PyramidConfig((1, 2), channels=8, fuse=fuse),
        HeadConfig(prototypes=2),
        InputConfig(**changes),
    )
    return Network(config, LABELS).eval()


class Chosen(SegmentationDataset):
    """Some pictures of another data set, in any order, perhaps twice."""

    def __init__(self, base: SegmentationDataset, indices: list[int]) -> None:
        self.name, self.split, self.labels = base.name, base.split, base.labels
        self.base, self.indices = base, indices

    @property
    def sample_names(self) -> list[str]:
        return [self.base.sample_names[index] for index in self.indices]

    def __getitem__(self, index: int):
        return self.base[self.indices[index]]


@torch.no_grad()
def all_patches(network, dataset):
    """(image, cell, label, distances (P,), latent (S, D)) of every cell, one by one."""
    layer, patches = network.prototypes, []
    for image in range(len(dataset)):
        sample = dataset[image]
        tensor = to_tensor(sample.image, network.config.input)[None]
        latent = torch.sigmoid(network.pyramid_map(tensor))[0]
        _, rows, columns = latent.shape
        height, width = sample.mask.shape
        for cell in range(rows * columns):
            row, column = divmod(cell, columns)
            label = int(sample.mask[int((row + 0.5) * height / rows), int((column + 0.5) * width / columns)])
            z = latent[:, row, column].reshape(layer.num_scales, -1)
            d = ((z[layer.prototype_scale] - layer.vectors) ** 2).sum(1)
            patches.append((image, cell, label, d, z))
    return patches


def test_nearest_patches_equal_a_plain_search():
    network, dataset, k = small_network(), Toys(4), 3
    patches = all_patches(network, dataset)
    for own_class in (True, False):
        nearest = nearest_patches(network, dataset, k, own_class)
        for index, label in enumerate(network.prototypes.prototype_class.tolist()):
            allowed = [p for p in patches if (p[2] == label if own_class else p[2] != VOID)]
            expected = sorted(allowed, key=lambda p: float(p[3][index]))[:k]
            found = list(zip(nearest.image[index].tolist(), nearest.cell[index].tolist(), strict=True))
            for place, (image, cell, where, d, z) in enumerate(expected):
                torch.testing.assert_close(nearest.distance[index, place], d[index], atol=1e-5, rtol=1e-5)
                if found[place] == (image, cell):
                    assert nearest.label[index, place] == where
                    scale = int(network.prototypes.prototype_scale[index])
                    torch.testing.assert_close(nearest.latent[index, place], z[scale])
            assert len(set(found)) == k
            assert sum(a == (b[0], b[1]) for a, b in zip(found, expected, strict=True)) >= k - 1


def test_equal_pictures_give_the_first():
    network, dataset = small_network(), Toys(3)
    twice = nearest_patches(network, Chosen(dataset, [2, 0, 2, 0, 1]))
    once = nearest_patches(network, Chosen(dataset, [2, 0, 1]))
    assert torch.equal(twice.distance, once.distance)
    assert torch.equal(twice.cell, once.cell)
    assert set(twice.image.flatten().tolist()) <= {0, 1, 4}


def test_fewer_patches_than_asked_for_are_infinitely_far():
    network = small_network()
    nearest = nearest_patches(network, Toys(1), k=40)
    far = nearest.image < 0
    assert far.any() and not far.all()
    assert nearest.distance[far].isinf().all() and (nearest.cell[far] == -1).all() and (nearest.label[far] == -1).all()


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
        assert source.picture.startswith(b"\x89PNG")


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
    picture = to_tensor(dataset[0].image, network.config.input)[None]
    with torch.no_grad():
        torch.testing.assert_close(network(picture).logits, unmerged(picture).logits, atol=1e-4, rtol=1e-4)
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


class Wide(Toys):
    """Pictures large enough that some boxes are not clipped."""

    def __getitem__(self, index: int):
        return picture(self.indices[index], width=160, height=120)


@pytest.mark.parametrize(("scales", "cells"), [((), 3), ((0.5,), 5), ((0.75, 0.6), 5)])
def test_sources_show_what_the_smallest_reading_of_a_picture_reads(scales, cells):
    network, dataset = small_network(scales=scales), Wide(2)
    project(network, dataset)
    widths = set()
    for source, scale in zip(network.sources, network.prototypes.prototype_scale.tolist(), strict=True):
        left, _, right, _ = source.box
        if scale == 0 and left > 0 and right < source.image_size[0]:
            widths.add(right - left)
    assert widths == {8 * cells}
