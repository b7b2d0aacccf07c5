"""The streaming search against a plain search over all patches at once."""

from __future__ import annotations

import torch

from scaleprotoseg.data.labels import VOID
from scaleprotoseg.inference.nearest_patches import nearest_patches
from tests.builders.images import Chosen, Toys
from tests.builders.networks import small_network
from tests.builders.reference import all_patches


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


def test_among_equal_images_the_first_is_nearest():
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
