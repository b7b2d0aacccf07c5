"""Duplicate, unused and dead units are found in networks that were made to have them."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from scaleprotoseg.evaluation.ablation import ablate
from scaleprotoseg.evaluation.collapse import Collapse, duplicates_of, find_collapse
from scaleprotoseg.evaluation.overlap import score_overlap
from scaleprotoseg.inference.units import activations_of, units_of
from tests.builders.encoders import Patches
from tests.builders.images import Toys
from tests.builders.networks import grouped_network, patch_network


def collapse_of(network, dataset):
    units = units_of(network)
    overlaps = score_overlap(activations_of(network, units), units, dataset)
    return find_collapse(network, overlaps[0], ablate(network, dataset)[0].flips)


def pair_in_use(network):
    """The first two prototypes of one class and scale that groups use."""
    layer, seen = network.prototypes, {}
    for index in units_of(network)[0].index.tolist():
        place = int(layer.prototype_class[index]), int(layer.prototype_scale[index])
        if place in seen:
            return seen[place], index
        seen[place] = index
    raise AssertionError


def test_collapse_is_found():
    network, dataset = grouped_network(), Toys(3)
    healthy = collapse_of(network, dataset)
    head, vectors = network.head, network.prototypes.vectors
    assert healthy.duplicates == ()
    assert healthy.unused == tuple(i for i in range(12) if not any(row[i] for row in head.unit_weights())) != ()
    first, second = pair_in_use(network)
    with torch.no_grad():
        vectors[second] = vectors[first]
        head.classifier[:, 4] = 0
    collapsed = collapse_of(network, dataset)
    assert collapsed.duplicates == ((first, second),) and collapsed.unused == healthy.unused
    flips = ablate(network, dataset)[0].flips.tolist()
    assert collapsed.dead_groups == tuple(group for group in range(6) if flips[group] == 0) and flips[4] == 0
    assert any(0 < fraction < 0.05 for fraction in flips)


def test_without_groups_none_is_dead():
    network = patch_network(Patches(), 6)
    with torch.no_grad():
        network.head.classifier[:, 7] = 0
        network.prototypes.vectors[1] = network.prototypes.vectors[0]
    assert collapse_of(network, Toys(3)) == Collapse(((0, 1),), (7,), None)


@given(
    arrays.arrays(np.float64, (5, 5), elements=st.sampled_from([0.0, 0.9, 0.91, 1.0, np.nan])),
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=5, max_size=5),
)
def test_duplicates_pair_by_pair(overlap, kinds):
    classes, scales = (np.array([kind[place] for kind in kinds]) for place in (0, 1))
    overlap = np.maximum(overlap, overlap.T)
    overlap[classes != classes[:, None]] = np.nan
    index = np.arange(5) * 2 + 1
    expected = tuple(
        (2 * i + 1, 2 * j + 1)
        for i in range(5)
        for j in range(i + 1, 5)
        if kinds[i] == kinds[j] and overlap[i, j] > 0.9
    )
    assert duplicates_of(overlap, index, scales) == expected
