"""Masking against masking by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scaleprotoseg.data.labels import VOID
from scaleprotoseg.evaluation.misalignment import Evidence, score_misalignment
from scaleprotoseg.model.evidence import choose_pictures, in_box
from scaleprotoseg.model.inference import to_tensor
from scaleprotoseg.model.source import reach_of
from scaleprotoseg.training.projection import project
from tests.evaluation.toys import Everything, Given, Patches, grouped_network, in_two, patch_network, sample_of
from tests.model.test_search import Wide, small_network
from tests.toys import Toys


@torch.no_grad()
def slow_misalignment(network, dataset, reaches):
    """[(scale, inside, outside, area)] of every prototype in every picture, box by box."""
    layer, rows = network.prototypes, []
    used = (
        [any(row[i] > 0 for row in network.head.dense_weights()) for i in range(len(layer))]
        if hasattr(network.head, "dense_weights")
        else [True] * len(layer)
    )
    for index in range(len(dataset)):
        sample = dataset[index]
        image = to_tensor(sample.image, network.config.input)[None]
        clean = network(image).similarities[0]
        (_, h, w), (height, width), (tall, wide) = clean.shape, sample.mask.shape, image.shape[2:]
        for prototype, label in enumerate(layer.prototype_class.tolist()):
            best = None
            for row in range(h):
                for column in range(w):
                    y, x = int((row + 0.5) * height / h), int((column + 0.5) * width / w)
                    value = float(clean[prototype, row, column])
                    if sample.mask[y, x] == label and (best is None or value > best[0]):
                        best = value, row, column
            if best is None or not used[prototype]:
                continue
            value, row, column = best
            scale = int(layer.prototype_scale[prototype])
            top, bottom = ((row + side) * height / h for side in (-reaches[scale], reaches[scale] + 1))
            left, right = ((column + side) * width / w for side in (-reaches[scale], reaches[scale] + 1))
            top, left = max(0, round(top)), max(0, round(left))
            bottom, right = min(height, round(bottom)), min(width, round(right))
            pictures = [image.clone(), image.clone()]
            for j in range(tall):
                for i in range(wide):
                    y, x = (j + 0.5) * height / tall, (i + 0.5) * width / wide
                    masked = pictures[top <= y < bottom and left <= x < right]
                    masked[0, :, j, i] = torch.tensor([0.485, 0.456, 0.406])
            left_over = [float(network(masked).similarities[0, prototype, row, column]) / value for masked in pictures]
            area = (bottom - top) * (right - left) / (height * width)
            rows.append([scale, *(min(1.0, share) for share in left_over), area])
    return np.array(rows)


def assert_evidence(evidence, rows):
    assert evidence.measurements == len(rows) > 0
    means = (evidence.inside, evidence.outside, evidence.area)
    assert means == pytest.approx(tuple(np.mean(rows, axis=0)[1:]), abs=1e-5)


@pytest.mark.parametrize(
    ("build", "changes", "reaches"),
    [
        (small_network, {}, (1, 2)),
        (grouped_network, {"size": 56}, (1, 2)),
        (grouped_network, {"size": (24, 72)}, (1, 2)),
        (small_network, {"scales": (0.5,)}, (2, 4)),
    ],
)
def test_masking_by_hand(build, changes, reaches):
    network, dataset = build(**changes), Toys(2)
    assert tuple(reach_of(network.config, scale) for scale in range(2)) == reaches
    expected = slow_misalignment(network, dataset, reaches)
    found = score_misalignment(network, dataset)
    assert_evidence(found.overall, expected)
    for scale, evidence in enumerate(found.scales):
        assert_evidence(evidence, expected[expected[:, 0] == scale])


def projected(encoder):
    network = patch_network(encoder, 6)
    project(network, Wide(3))
    return network


def test_a_network_that_reads_what_is_shown_has_all_its_evidence_there():
    """Three by three, and five by five, cells of 8 x 8 pixels are shown, and read."""
    found = score_misalignment(projected(Patches()), Wide(3))
    assert found.receptive_fields == ((24, 24), (40, 40))
    for evidence in (found.overall, *found.scales):
        assert evidence.inside == pytest.approx(1, abs=1e-6) and evidence.outside < 0.7
    for evidence, side in zip(found.scales, (24, 40), strict=True):
        assert evidence.area <= side**2 / (160 * 120)


def test_a_network_that_reads_everything_has_evidence_elsewhere():
    found = score_misalignment(projected(Everything()), Wide(3))
    assert found.receptive_fields == ((None, None),) * 2
    assert all(evidence.inside < 0.7 for evidence in (found.overall, *found.scales))


def test_classes_that_no_picture_shows_are_not_measured():
    dataset = Given([sample_of(np.full((40, 48), VOID, np.uint8))])
    found = score_misalignment(patch_network(Patches(), 6), dataset)
    nothing = Evidence(None, None, None, 0)
    assert found.overall == nothing and found.scales == (nothing, nothing)


@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.lists(st.integers(0, 12), min_size=4, max_size=4),
)
def test_in_box_pixel_by_pixel(picture, size, corners):
    box, (width, height), (rows, columns) = tuple(corners), picture, size
    found = in_box(box, picture, size)
    for row in range(rows):
        for column in range(columns):
            # Doubled, to compare whole numbers.
            x, y = (2 * column + 1) * width, (2 * row + 1) * height
            inside = 2 * box[0] * columns <= x < 2 * box[2] * columns and 2 * box[1] * rows <= y < 2 * box[3] * rows
            assert bool(found[row, column]) == inside


def test_pictures_are_chosen_by_seed_among_those_that_show_the_class():
    masks = [np.array([[label, 0, VOID]], np.uint8) for label in (1, 1, 2, 1, 1, 1, 0, 1)]
    dataset = Given([sample_of(mask) for mask in masks])
    chosen = choose_pictures(dataset, [0, 1, 2], 3, seed=0)
    by_class = [{index for index, labels in chosen.items() if label in labels} for label in range(3)]
    assert [len(indices) for indices in by_class] == [3, 3, 1] and by_class[2] == {2}
    assert by_class[1] <= {0, 1, 3, 4, 5, 7}
    assert choose_pictures(dataset, [0, 1, 2], 3, seed=0) == chosen
    others = [choose_pictures(dataset, [1], 3, seed) for seed in range(1, 9)]
    assert any(set(other) != by_class[1] for other in others)
    assert set(choose_pictures(dataset, [1], 99, seed=0)) == {0, 1, 3, 4, 5, 7}


def test_no_more_pictures_than_asked_for_are_measured():
    network = patch_network(Patches(), 6)
    assert score_misalignment(network, Toys(4), pictures=2).overall.measurements <= 2 * 12


def test_two_processes_measure_the_same(monkeypatch):
    network = patch_network(Patches(), 6)

    def measure():
        return score_misalignment(network, Toys(5), pictures=2)

    alone = measure()
    for shared in in_two(monkeypatch, measure):
        assert shared.overall.inside == pytest.approx(alone.overall.inside)
        assert shared.overall.measurements == alone.overall.measurements
        assert [scale.area for scale in shared.scales] == pytest.approx([scale.area for scale in alone.scales])
