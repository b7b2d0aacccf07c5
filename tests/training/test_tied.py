"""Tied prototypes always equal the latent vectors of their training patches."""

from __future__ import annotations

import pytest
import torch

from scaleprotoseg.errors import UserError
from scaleprotoseg.training.projection import project
from scaleprotoseg.training.tied import TiedPrototypes
from tests.builders.images import Toys
from tests.builders.networks import small_network
from tests.builders.reference import latents_at_sources


@pytest.mark.parametrize("fuse", ["keep", "sum"])
@torch.no_grad()
def test_prototypes_follow_their_patches(fuse):
    network, dataset = small_network(fuse=fuse), Toys(4)
    project(network, dataset)
    tied = TiedPrototypes(network, dataset)
    torch.testing.assert_close(tied(), network.prototypes.vectors.data, atol=1e-5, rtol=1e-4)
    for branch in network.pyramid.branches:
        branch.weight += 0.3 * torch.randn_like(branch.weight)
        branch.bias += 0.1
    moved = latents_at_sources(network, dataset)
    assert not torch.allclose(moved, network.prototypes.vectors, atol=1e-2)
    torch.testing.assert_close(tied(), moved, atol=1e-5, rtol=1e-4)
    tied.settle()
    torch.testing.assert_close(network.prototypes.vectors.data, moved, atol=1e-5, rtol=1e-4)


def test_the_pyramid_learns_through_its_prototypes():
    network, dataset = small_network(), Toys(4)
    project(network, dataset)
    TiedPrototypes(network, dataset)().sum().backward()
    assert all(branch.weight.grad.abs().sum() > 0 for branch in network.pyramid.branches)
    assert network.prototypes.vectors.grad is None


@torch.no_grad()
def test_a_prototype_without_a_patch_stays():
    network, dataset = small_network(), Toys(4)
    project(network, dataset)
    network.sources[1] = None
    tied, before = TiedPrototypes(network, dataset), network.prototypes.vectors[1].clone()
    network.pyramid.branches[0].bias += 1
    assert torch.equal(tied()[1], before)
    assert not torch.allclose(tied()[0], network.prototypes.vectors[0])


def test_other_images_are_refused():
    network = small_network()
    project(network, Toys(4))
    with pytest.raises(UserError, match="project again first"):
        TiedPrototypes(network, Toys(1, first=30))
