"""Pruning by neighbours against a search over all patches, and by parts against loops over images."""

from __future__ import annotations

import logging

import pytest
import torch

from scaleprotoseg.errors import UserError
from scaleprotoseg.inference.alterations import noise_of
from scaleprotoseg.inference.part_options import PartOptions
from scaleprotoseg.inference.units import activations_of, units_of
from scaleprotoseg.model.heads.groups import GroupHead
from scaleprotoseg.training.projection import project
from scaleprotoseg.training.pruning import prune_by_neighbours, prune_by_parts
from tests.builders.images import LABELS, PartToys, Toys
from tests.builders.networks import small_network
from tests.builders.reference import all_patches, slow_hits


@pytest.mark.parametrize("agreeing", [1, 2, 3])
def test_those_stay_whose_nearest_patches_are_of_their_class(agreeing):
    network, dataset = small_network(), Toys(5)
    project(network, dataset)
    layer, patches, sources = network.prototypes, all_patches(network, dataset), network.sources
    expected = []
    for index, label in enumerate(layer.prototype_class.tolist()):
        nearest = []
        for number in range(len(dataset)):
            own = [(float(d[index]), cell, c) for image, cell, c, d, _ in patches if c != 255 and image == number]
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
    with torch.no_grad():  # The prototypes of one class lie on patches of another class.
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


@pytest.mark.parametrize(("agreement", "grouped"), [(0.0, False), (0.5, False), (0.99, False), (0.5, True)])
def test_those_stay_that_point_at_one_part(agreement, grouped):
    network, dataset = small_network(), PartToys(7)
    project(network, dataset)
    if grouped:
        network.replace_head(GroupHead.over(network.head, 2), network.sources)
        network.head.weights.data = network.head.valid[:, None] * torch.full_like(network.head.weights, 0.25)
    classes, sources = network.prototypes.prototype_class.tolist(), network.sources
    maps_of = activations_of(network, units_of(network))
    part_class = [LABELS.names.index(name) for name in dataset.parts.classes]
    hits = [{} for _ in classes]
    changed = 0
    for index, sample in enumerate(dataset):
        clean, noisy = (maps_of(sample, alter)[0] for alter in (None, noise_of(PartOptions(), index, network.std)))
        for found, label, *maps in zip(hits, classes, clean, noisy, strict=True):
            before, after = (slow_hits(sample, one, label, part_class, PartOptions()) for one in maps)
            changed += before != after
            for part, hit in before.items():
                found.setdefault(part, []).append(hit and after[part])
    assert changed
    fractions = [max((sum(images) / len(images) for images in found.values()), default=None) for found in hits]
    expected = []
    for index, (label, fraction) in enumerate(zip(classes, fractions, strict=True)):
        others = [
            (-other, place)
            for place, (other, c) in enumerate(zip(fractions, classes, strict=True))
            if c == label and other is not None
        ]
        if fraction is None or fraction > agreement or min(others)[1] == index:
            expected.append(index)
    prune_by_parts(network, dataset, agreement)
    assert network.sources == [sources[index] for index in expected]
    assert network.prototypes.prototype_class.tolist() == [classes[index] for index in expected]
    assert set(classes) == {0, 1, 2} == set(network.prototypes.prototype_class.tolist())
    assert len(expected) < len(classes)


def test_of_equals_one_stays():
    network = small_network()
    project(network, PartToys(3))
    with torch.no_grad():
        network.prototypes.vectors[:] = 0.5  # all equal
    prune_by_parts(network, PartToys(3), 0.999)
    counts = network.prototypes.prototype_class.bincount().tolist()
    assert counts[0] > 1 and counts[1:] == [1, 1]
