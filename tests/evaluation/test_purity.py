"""Purity against a search over all patches, one by one."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scaleprotoseg.data.labels import VOID
from scaleprotoseg.evaluation.purity import UNKNOWN, Purity, part_purity, score_purity
from tests.builders.images import Given, PartToys, Toys, sample_of
from tests.builders.networks import grouped_network, small_network
from tests.builders.processes import in_two
from tests.builders.reference import all_patches

PARTS_OF = {0: [], 1: [1, 2], 2: [3]}


def slow_purity(network, dataset, k):
    grids = {}
    patches = all_patches(network, dataset)
    for image, cell, *_ in patches:
        grids[image] = max(grids.get(image, 0), cell + 1)
    classes, parts = [], []
    for index in network.prototype_head.used_prototypes().tolist():
        label = int(network.prototypes.prototype_class[index])
        best = {}
        for image, cell, where, distances, _ in patches:
            distance = float(distances[index])
            if where != VOID and (image not in best or distance < best[image][0]):
                best[image] = distance, where, cell
        nearest = sorted((distance, image, where, cell) for image, (distance, where, cell) in best.items())[:k]
        classes.append(sum(where == label for *_, where, _ in nearest) / len(nearest))
        on = Counter()
        known = 0
        for _, image, _, cell in nearest:
            mask = dataset[image].parts
            if mask is not None:
                known += 1
                columns = mask.shape[1] // 8
                row, column = divmod(cell, columns)
                on[int(mask[row * 8 + 4, column * 8 + 4])] += 1
        counts = [on[part] for part in PARTS_OF[label]]
        parts.append(max(counts) / known if counts and known else None)
    return Purity(tuple(classes), tuple(parts))


@pytest.mark.parametrize("build", [small_network, grouped_network])
@pytest.mark.parametrize("k", [3, 10])
def test_purity_patch_by_patch(build, k):
    network, dataset = build(), PartToys(7)
    found, expected = score_purity(network, dataset, k), slow_purity(network, dataset, k)
    assert found.classes == pytest.approx(expected.classes)
    assert [value is None for value in found.parts] == [value is None for value in expected.parts]
    assert [v for v in found.parts if v is not None] == pytest.approx([v for v in expected.parts if v is not None])


def test_prototypes_that_are_patches_are_purer_than_chance():
    network, dataset = small_network(), PartToys(4)
    with torch.no_grad():
        network.head.classifier[:, 5:] = 0
    found = score_purity(network, dataset)
    assert len(found.classes) == len(found.parts) == 5
    assert found.parts[0] is None and all(0 <= value <= 1 for value in found.parts[2:])


def test_data_without_parts_and_data_without_labels():
    assert score_purity(small_network(), Toys(2)).parts == (None,) * 12
    empty = Given([sample_of(np.full((40, 48), VOID, np.uint8), parts=np.zeros((40, 48), np.uint8))])
    assert score_purity(small_network(), empty) == Purity((None,) * 12, (None,) * 12)
    without = Given([sample_of(np.ones((40, 48), np.uint8))])
    assert score_purity(small_network(), without).parts == (None,) * 12


@given(st.lists(st.integers(-1, 3), max_size=10), st.sets(st.integers(1, 3)))
def test_part_purity_by_counting(parts, own):
    known = [part for part in parts if part != UNKNOWN]
    expected = max(known.count(part) for part in own) / len(known) if own and known else None
    assert part_purity(np.array(parts, np.int64), own) == pytest.approx(expected)


def test_two_processes_measure_the_same(monkeypatch):
    network = grouped_network()
    alone = score_purity(network, PartToys(5), 3)
    assert in_two(monkeypatch, lambda: score_purity(network, PartToys(5), 3)) == [alone, alone]
