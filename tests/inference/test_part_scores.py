"""Consistency and stability against loops over images, units, parts and pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from scaleprotoseg.data.dataset import Keypoint
from scaleprotoseg.data.labels import VOID
from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.errors import UserError
from scaleprotoseg.inference.alterations import noise_of
from scaleprotoseg.inference.part_options import PartOptions
from scaleprotoseg.inference.part_scores import score_parts
from scaleprotoseg.inference.part_tally import PartScores
from scaleprotoseg.inference.units import activations_of, units_of
from tests.builders.images import Chosen, Given, PartToys, Toys, sample_of
from tests.builders.networks import grouped_network
from tests.builders.processes import in_two
from tests.builders.reference import centroid_of, components_of, slow_hits
from tests.builders.units import groups_of, prototypes_of

STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
CENTROID, AREA = PartOptions(), PartOptions(hit="area")


@pytest.fixture(scope="module")
def scenes():
    return Chosen(open_dataset("scenes", "val", None), range(12))


def slow_scores(dataset, maps_of, units, options=CENTROID):
    part_class = [dataset.labels.names.index(name) for name in dataset.parts.classes]
    scores = []
    for level, group in enumerate(units):
        presence, equal = {}, []
        for index in range(len(dataset)):
            sample = dataset[index]
            clean = maps_of(sample, None)[level]
            noisy = maps_of(sample, noise_of(options, index, STD))[level]
            for unit, label in enumerate(group.unit_class.tolist()):
                before, after = (slow_hits(sample, maps[unit], label, part_class, options) for maps in (clean, noisy))
                for part, hit in before.items():
                    presence.setdefault(unit, {}).setdefault(part, []).append(hit)
                if before:
                    equal.append(before == after)
        consistent = [any(np.mean(hits) > options.agreement for hits in parts.values()) for parts in presence.values()]
        means = (float(np.mean(consistent)), float(np.mean(equal))) if consistent else (None, None)
        scores.append(PartScores(*means, len(consistent)))
    return scores


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.scored == other.scored
        assert one.consistency == pytest.approx(other.consistency)
        assert one.stability == pytest.approx(other.stability)


def random_maps(counts, size=(12, 16)):
    """Activations that depend only on the image and on whether it is altered."""

    def maps_of(sample, alter):
        rng = np.random.default_rng([*sample.name.encode(), alter is not None])
        return [torch.from_numpy(rng.random((count, *size), np.float32)) for count in counts]

    return maps_of


def one_per_part(dataset):
    classes = [dataset.labels.names.index(name) for name in dataset.parts.classes]
    return prototypes_of(classes), list(range(1, len(classes) + 1))


def detector(dataset, reach=2.0):
    """One unit per part: highest at the centroids of its components, 0 beyond ``reach`` pixels from them.

    With noise the unit is weaker, and high outside of its class.
    """
    units, parts = one_per_part(dataset)

    def maps_of(sample, alter):
        y, x = np.mgrid[: sample.mask.shape[0], : sample.mask.shape[1]]
        maps = np.zeros((len(parts), *y.shape), np.float32)
        for one, part, label in zip(maps, parts, units.unit_class.tolist(), strict=True):
            for number, component in enumerate(components_of((sample.parts == part) & (sample.mask == label))):
                row, column = centroid_of(component)
                np.maximum(one, (1 + number / 1000) * np.clip(1 - np.hypot(y - row, x - column) / reach, 0, 1), out=one)
        if alter is not None:
            noise = np.random.default_rng(0).random(maps.shape, np.float32)
            maps = np.where(sample.mask == units.unit_class.numpy()[:, None, None], 0.7 * maps, 9 * noise)
        return [torch.from_numpy(maps)]

    return [units], maps_of


def test_a_perfect_part_detector_is_consistent_and_stable(scenes):
    units, maps_of = detector(scenes)
    (score,) = score_parts(maps_of, units, scenes, STD)
    assert score == PartScores(1.0, 1.0, len(scenes.parts.names))
    assert slow_scores(scenes, maps_of, units) == [score]


def test_a_detector_that_covers_parts_is_consistent_by_area(scenes):
    """Each unit equals its part, and is consistent if the part covers less than a fifth of its class."""
    units, parts = one_per_part(scenes)

    def maps_of(sample, alter):
        return [torch.from_numpy(np.stack([sample.parts == part for part in parts]).astype(np.float32))]

    (score,) = score_parts(maps_of, [units], scenes, STD, AREA)
    assert_same([score], slow_scores(scenes, maps_of, [units], AREA))
    small = []
    for part, label in zip(parts, units.unit_class.tolist(), strict=True):
        images = [
            (s.parts == part, s.mask == label) for s in map(scenes.__getitem__, range(12)) if (s.parts == part).any()
        ]
        small.append(np.mean([0 < region.sum() <= (of_class.sum() - 1) // 5 for region, of_class in images]) > 0.8)
    assert any(small) and score.consistency == np.mean(small) and score.stability == 1


@pytest.mark.parametrize("options", [CENTROID, AREA, PartOptions(agreement=0.3, quantile=0.5)])
def test_random_units_score_as_loops_say(scenes, options):
    units = [prototypes_of([0, 1, 4, 5, 5, 6, 7]), groups_of([1, 5, 6, 7])]
    maps_of = random_maps([7, 4])
    scores = score_parts(maps_of, units, scenes, STD, options)
    assert_same(scores, slow_scores(scenes, maps_of, units, options))
    assert [score.scored for score in scores] == [6, 4]


def test_random_units_point_at_nothing_in_particular(scenes):
    """Trees, people and signs only: walls and cars have so many components that one of them is hit by chance."""
    (score,) = score_parts(random_maps([12]), [prototypes_of([4, 6, 7] * 4)], scenes, STD)
    assert score.scored == 12 and score.consistency < 0.1 and score.stability < 0.5


@pytest.mark.parametrize("options", [CENTROID, AREA])
def test_a_class_wide_unit_points_at_nothing(scenes, options):
    units, _ = one_per_part(scenes)

    def maps_of(sample, alter):
        labels = units.unit_class.numpy()[:, None, None]
        return [torch.from_numpy((sample.mask == labels) * np.float32(0.37 if alter is None else 0.35))]

    (score,) = score_parts(maps_of, [units], scenes, STD, options)
    assert score == PartScores(0.0, 1.0, len(scenes.parts.names))
    assert slow_scores(scenes, maps_of, [units], options) == [score]


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "area": (0.0, 1.5, np.nan),
        "radius": (-1.0, np.inf),
        "quantile": (-0.1, 1.0, np.nan),
        "agreement": (-0.1, 1.0),
        "deviation": (-1.0, np.inf),
        "seed": (-1,),
    }.items(),
)
def test_variants_that_there_cannot_be(name, values):
    for value in values:
        with pytest.raises(UserError, match=rf"^part_scores\.{name} is {value}; give "):
            PartOptions(**{name: value})


def test_consistent_is_more_than_the_agreement_and_not_as_much():
    mask = np.ones((1, 6), np.uint8)
    parts = np.array([[1, 0, 0, 0, 0, 0]], np.uint8)
    dataset = Given([replace(sample_of(mask, parts=parts), name=str(index)) for index in range(5)])

    def maps_of(sample, alter):
        return [torch.tensor([[1.0, 0, 0, 0, 0, 0]] if int(sample.name) < 4 else [[0, 1.0, 0, 0, 0, 0]])[None]]

    for agreement, consistency in ((0.79, 1.0), (0.8, 0.0)):
        assert score_parts(maps_of, [groups_of([1])], dataset, STD, PartOptions(agreement=agreement)) == [
            PartScores(consistency, 1.0, 1)
        ]


class Pointed(Toys):
    """Up to five random keypoints per image, also of parts that the image does not show."""

    parts = PartToys.parts

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        rng = np.random.default_rng(index)
        points = [
            Keypoint(int(part), float(x), float(y)) for part, x, y in rng.random((5, 3)) * (3, 48, 40) + (1, 0, 0)
        ]
        return replace(sample, keypoints=tuple(points[: index % 6]))


@pytest.mark.parametrize("radius", [0.0, 3.0, 12.5])
@pytest.mark.parametrize("hit", ["centroid", "area"])
def test_keypoints_are_hit_within_a_radius(radius, hit):
    dataset, units = Pointed(8), [prototypes_of([0, 1, 1, 2, 2]), groups_of([1, 2])]
    options = PartOptions(hit=hit, radius=radius, agreement=0.5)
    maps_of = random_maps([5, 2])
    assert_same(score_parts(maps_of, units, dataset, STD, options), slow_scores(dataset, maps_of, units, options))


def test_a_keypoint_just_in_reach():
    mask = np.ones((9, 12), np.uint8)
    dataset = Given([sample_of(mask, keypoints=(Keypoint(1, 11.5, 8.5),))])
    maps = torch.zeros(1, 9, 12)
    maps[0, 8, 7] = 1
    for radius, consistency in ((3.9, 0.0), (4.0, 1.0)):
        (score,) = score_parts(lambda *_: [maps], [groups_of([1])], dataset, STD, PartOptions(radius=radius))
        assert score == PartScores(consistency, 1.0, 1)


@settings(deadline=None, max_examples=150)
@given(
    st.data(),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.sampled_from([CENTROID, AREA, PartOptions(quantile=0.4, agreement=0.5)]),
)
def test_any_masks_and_parts(data, size, options):
    samples, maps = [], {}
    for index in range(data.draw(st.integers(1, 3))):
        mask = data.draw(arrays.arrays(np.uint8, size, elements=st.sampled_from([0, 1, 2, VOID])))
        parts = data.draw(st.none() | arrays.arrays(np.uint8, size, elements=st.integers(0, 3)))
        samples.append(replace(sample_of(mask, parts=parts), name=str(index)))
        values = arrays.arrays(np.float32, (4, *size), elements=st.integers(0, 6))
        maps[str(index)] = data.draw(values), data.draw(values)

    def maps_of(sample, alter):
        chosen = torch.from_numpy(maps[sample.name][alter is not None])
        return [chosen[:3], chosen[3:]]

    units, dataset = [prototypes_of([1, 1, 2]), groups_of([0])], Given(samples)
    found = score_parts(maps_of, units, dataset, STD, options)
    assert_same(found, slow_scores(dataset, maps_of, units, options))
    assert found[1] == PartScores(None, None, 0)


def test_data_without_parts_have_no_scores():
    def never(*_):
        raise AssertionError

    assert score_parts(never, [groups_of([1])], Toys(2), STD) is None
    nothing_shown = Given([sample_of(np.full((4, 4), VOID, np.uint8), parts=np.ones((4, 4), np.uint8))])
    assert score_parts(never, [groups_of([1])], nothing_shown, STD) == [PartScores(None, None, 0)]


def test_an_image_without_mask_is_refused():
    dataset = Given([replace(sample_of(np.zeros((4, 4), np.uint8)), mask=None)])
    with pytest.raises(UserError, match="has no mask"):
        score_parts(random_maps([1]), [groups_of([1])], dataset, STD)


def test_a_networks_prototypes_and_groups():
    network, dataset = grouped_network(), PartToys(5)
    units = units_of(network)
    maps_of = activations_of(network, units)
    scores = score_parts(maps_of, units, dataset, network.std, AREA)
    assert_same(scores, slow_scores(dataset, maps_of, units, AREA))
    assert len(scores) == 2 and all(score.scored for score in scores)


def test_two_processes_score_the_same(monkeypatch, scenes):
    units, maps_of = [prototypes_of([1, 5, 6]), groups_of([5])], random_maps([3, 1])
    alone = score_parts(maps_of, units, scenes, STD)
    assert in_two(monkeypatch, lambda: score_parts(maps_of, units, scenes, STD)) == [alone, alone]
