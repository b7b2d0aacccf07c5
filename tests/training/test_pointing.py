"""The assignment of parts to prototypes, against all possible assignments."""

from __future__ import annotations

import itertools

import pytest
import torch

from scaleprotoseg.inference.part_options import PartOptions
from scaleprotoseg.inference.units import activations_of, units_of
from scaleprotoseg.training.pointing import part_of_prototypes
from tests.builders.images import LABELS, PARTS, PartToys
from tests.builders.networks import grouped_network, small_network
from tests.builders.reference import slow_hits


def hit_rates(network, dataset):
    """For each prototype in use and each part, the fraction of the images with the part in which it hits the part."""
    (units, *_), part_class = units_of(network), [LABELS.names.index(name) for name in dataset.parts.classes]
    maps_of = activations_of(network, [units])
    found = {index: {} for index in units.index.tolist()}
    for sample in dataset:
        (maps,) = maps_of(sample, None)
        for one, label, hits in zip(maps, units.unit_class.tolist(), found.values(), strict=True):
            for part, hit in slow_hits(sample, one, label, part_class, PartOptions()).items():
                hits.setdefault(part, []).append(hit)
    return {index: {part: sum(h) / len(h) for part, h in hits.items()} for index, hits in found.items()}


@pytest.mark.parametrize("grouped", [False, True])
def test_prototypes_get_the_parts_they_hit_and_no_part_twice(grouped):
    network, dataset = grouped_network() if grouped else small_network(), PartToys(7)
    layer, rates = network.prototypes, hit_rates(network, dataset)
    part_of = part_of_prototypes(network, dataset).tolist()
    assert {part for index, part in enumerate(part_of) if index not in rates} <= {0}
    assert grouped == (len(rates) < len(part_of))
    for label, scale in itertools.product(range(3), range(2)):
        own = [
            index for index in rates if (layer.prototype_class[index], layer.prototype_scale[index]) == (label, scale)
        ]
        parts = [part for part in (1, 2, 3) if PARTS.classes[part - 1] == LABELS.names[label]]
        given = [part_of[index] for index in own]
        told = [part for part in given if part]
        assert set(told) <= set(parts) and len(told) == len(set(told)) == min(len(own), len(parts))
        best = max(
            sum(rates[index][part] for index, part in zip(some, ordered, strict=True))
            for some in itertools.permutations(own, len(told))
            for ordered in itertools.combinations(parts, len(told))
        )
        assert sum(rates[i][part] for i, part in zip(own, given, strict=True) if part) == pytest.approx(best)


def test_a_part_that_is_never_shown_is_nobodys():
    class Topless(PartToys):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            if sample.parts is not None:
                sample.parts[sample.parts == 1] = 0
            return sample

    network = small_network()
    assert 1 not in torch.unique(part_of_prototypes(network, Topless(7)))
