"""Overlap against sets of pixels."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from scaleprotoseg.data.labels import VOID
from scaleprotoseg.evaluation.overlap import QUANTILES, mean_overlap, pairwise_iou, score_overlap
from scaleprotoseg.inference.units import ROUNDING
from tests.builders.images import Given, Toys, sample_of
from tests.builders.processes import in_two
from tests.builders.units import groups_of, prototypes_of

CLASSES, SCALES = [0, 0, 0, 1, 1, 2], [0, 0, 1, 0, 1, 0]


def random_maps(sample, alter):
    rng = np.random.default_rng(int(sample.name.removeprefix("toy-")))
    return [torch.from_numpy(rng.random((count, 5, 6), np.float32)) for count in (6, 3)]


LEVELS = [prototypes_of(CLASSES, SCALES), groups_of([0, 1, 1])]


def slow_overlap(dataset, classes, level):
    """{(quantile, i, j): mean IoU} of pairs of one class."""
    ious = {}
    for index in range(len(dataset)):
        sample = dataset[index]
        size = sample.mask.shape
        maps = torch.nn.functional.interpolate(random_maps(sample, None)[level][None], size, mode="bilinear")[0]
        for quantile in QUANTILES:
            on = []
            for label, one in zip(classes, maps, strict=True):
                pixels = {(y, x): float(one[y, x]) for y, x in np.argwhere(sample.mask == label).tolist()}
                least = np.quantile(list(pixels.values()), quantile) if pixels else 0
                on.append({place for place, value in pixels.items() if value > least * (1 + ROUNDING)})
            for i, j in np.ndindex(len(classes), len(classes)):
                if i != j and classes[i] == classes[j] and on[i] | on[j]:
                    ious.setdefault((quantile, i, j), []).append(len(on[i] & on[j]) / len(on[i] | on[j]))
    return {key: np.mean(values) for key, values in ious.items()}


def test_overlap_of_random_units_set_by_set():
    dataset = Toys(4)
    for level, (units, overlaps) in enumerate(zip(LEVELS, score_overlap(random_maps, LEVELS, dataset), strict=True)):
        classes = units.unit_class.tolist()
        expected = slow_overlap(dataset, classes, level)
        assert overlaps.shape == (4, len(classes), len(classes)) and expected
        for (q, i, j), value in np.ndenumerate(overlaps):
            np.testing.assert_allclose(value, expected.get((QUANTILES[q], i, j), np.nan), atol=1e-6)


def test_mean_overlap_pair_by_pair():
    prototypes, groups = score_overlap(random_maps, LEVELS, Toys(4))
    scale = np.array(SCALES)
    means = mean_overlap(prototypes, scale)
    for place in range(len(QUANTILES)):
        pairs = [(i, j) for i in range(6) for j in range(i) if CLASSES[i] == CLASSES[j]]
        within = [prototypes[place, i, j] for i, j in pairs if SCALES[i] == SCALES[j]]
        across = [prototypes[place, i, j] for i, j in pairs if SCALES[i] != SCALES[j]]
        np.testing.assert_allclose(means["within_scale"][place], np.mean(within))
        np.testing.assert_allclose(means["across_scales"][place], np.mean(across))
        np.testing.assert_allclose(mean_overlap(groups, None)["groups"][place], groups[place, 1, 2])


def test_identical_units_overlap_wholly_and_units_at_opposite_ends_not_at_all():
    x = torch.arange(40.0 * 48).reshape(48, 40).T
    (overlap,) = score_overlap(lambda *_: [torch.stack([x, x, -x])], [groups_of([0, 0, 0])], Toys(3))
    np.testing.assert_array_equal(overlap[:, 0, 1], 1)
    np.testing.assert_array_equal(overlap[:, 0, 2], 0)
    np.testing.assert_array_equal(overlap[:, 2, 1], 0)
    assert np.isnan(overlap[:, range(3), range(3)]).all()


def test_units_that_are_on_nowhere_or_have_no_partner_have_no_overlap():
    flat, one = torch.ones(2, 4, 5), torch.rand(1, 4, 5)
    units = [groups_of([0, 0]), prototypes_of([1], [0])]
    overlaps = score_overlap(lambda *_: [flat, one], units, Toys(2))
    assert all(np.isnan(overlap).all() for overlap in overlaps)
    assert mean_overlap(overlaps[0], None) == {"groups": [None] * 4}
    assert mean_overlap(overlaps[1], np.array([0])) == {"within_scale": [None] * 4, "across_scales": [None] * 4}


def test_an_image_in_which_both_units_are_on_nowhere_does_not_count():
    dataset = Toys(2)
    maps = {"toy-0": torch.ones(2, 4, 5), "toy-1": torch.rand(2, 4, 5)}
    (both,) = score_overlap(lambda sample, _: [maps[sample.name]], [groups_of([0, 0])], dataset)
    (second,) = score_overlap(lambda sample, _: [maps[sample.name]], [groups_of([0, 0])], Given([dataset[1]]))
    np.testing.assert_array_equal(both, second)
    assert not np.isnan(both[:, 0, 1]).any()


def test_images_without_labels_count_nothing():
    dataset = Given([sample_of(np.full((6, 7), VOID, np.uint8))])
    (overlap,) = score_overlap(lambda *_: [torch.rand(2, 3, 3)], [groups_of([0, 0])], dataset)
    assert np.isnan(overlap).all()


@given(arrays.arrays(bool, st.tuples(st.integers(1, 4), st.integers(0, 12))))
def test_pairwise_iou_by_sets(on):
    regions = [set(np.flatnonzero(row).tolist()) for row in on]
    for (i, j), value in np.ndenumerate(pairwise_iou(on)):
        either = regions[i] | regions[j]
        assert np.isnan(value) if not either else value == len(regions[i] & regions[j]) / len(either)


def test_two_processes_measure_the_same(monkeypatch):
    alone = score_overlap(random_maps, LEVELS, Toys(5))
    for shared in in_two(monkeypatch, lambda: score_overlap(random_maps, LEVELS, Toys(5))):
        for one, other in zip(alone, shared, strict=True):
            np.testing.assert_allclose(one, other)
