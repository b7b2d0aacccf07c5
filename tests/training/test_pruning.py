"""Pruning by neighbours against a plain look at every patch."""

from __future__ import annotations

import logging

import pytest
import torch

from scaleprotoseg.errors import UserError
from scaleprotoseg.training.projection import project
from scaleprotoseg.training.pruning import prune_by_neighbours
from tests.model.test_search import all_patches, small_network
from tests.toys import Toys


@pytest.mark.parametrize("agreeing", [1, 2, 3])
def test_those_stay_whose_nearest_patches_are_of_their_class(agreeing):
    network, dataset = small_network(), Toys(5)
    project(network, dataset)
    layer, patches, sources = network.prototypes, all_patches(network, dataset), network.sources
    expected = []
    for index, label in enumerate(layer.prototype_class.tolist()):
        nearest = []
        for picture in range(len(dataset)):
            own = [(float(d[index]), cell, c) for image, cell, c, d, _ in patches if c != 255 and image == picture]
            nearest.append(min(own))
        if sum(c == label for *_, c in sorted(nearest)[:4]) >= agreeing:
            expected.append(index)
    vectors, classifier = layer.vectors.detach().clone(), network.head.classifier.detach().clone()
    prune_by_neighbours(network, dataset, 4, agreeing)
    assert torch.equal(network.prototypes.vectors, vectors[expected])
    assert torch.equal(network.head.classifier, classifier[:, expected])
    assert network.sources == [sources[index] for index in expected]
    assert agreeing == 1 or len(expected) < len(vectors)


def test_a_class_left_without_prototypes_is_named(caplog):
    network, dataset = small_network(), Toys(2)
    with torch.no_grad():  # A class whose prototypes lie on patches of another
        first = network.prototypes.prototype_class == 0
        project(other := small_network(), dataset)
        for scale in range(2):
            own = (network.prototypes.prototype_scale == scale) & first
            source = (other.prototypes.prototype_scale == scale) & (other.prototypes.prototype_class == 2)
            network.prototypes.vectors[own] = other.prototypes.vectors[source][0]
    with caplog.at_level(logging.INFO, "scaleprotoseg"):
        prune_by_neighbours(network, dataset, 1, 1)
    assert 0 not in network.prototypes.prototype_class
    assert "no prototype is left of ground" in caplog.text
    assert len(network.sources) == len(network.prototypes)


def test_a_network_never_loses_all_prototypes():
    network = small_network()
    project(network, Toys(2))
    before = len(network.prototypes)
    with pytest.raises(UserError, match="40 of its class among its 40 nearest patches; lower agreeing"):
        prune_by_neighbours(network, Toys(2), 40, 40)
    assert len(network.prototypes) == before
