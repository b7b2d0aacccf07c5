"""Evidence inside and outside of boxes, against masking by hand."""

import numpy as np
import pytest
import torch

from scaleprotoseg.data.labels import VOID
from scaleprotoseg.evaluation.misalignment import Evidence, score_misalignment
from scaleprotoseg.inference.tiles import to_tensor
from scaleprotoseg.model.source import reach_of
from scaleprotoseg.training.projection import project
from tests.builders.encoders import Everything, Patches
from tests.builders.images import Given, Toys, WideToys, sample_of
from tests.builders.networks import grouped_network, patch_network, small_network
from tests.builders.processes import in_two


@torch.no_grad()
def slow_misalignment(network, dataset, reaches):
    """[(scale, inside, outside, area)] of every prototype in every image, box by box."""
    layer, rows = network.prototypes, []
    used = [any(row[i] > 0 for row in network.head.unit_weights()) for i in range(len(layer))]
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
            masked_images = [image.clone(), image.clone()]
            for j in range(tall):
                for i in range(wide):
                    y, x = (j + 0.5) * height / tall, (i + 0.5) * width / wide
                    masked = masked_images[top <= y < bottom and left <= x < right]
                    masked[0, :, j, i] = torch.tensor([0.485, 0.456, 0.406])
            left_over = [
                float(network(masked).similarities[0, prototype, row, column]) / value for masked in masked_images
            ]
            area = (bottom - top) * (right - left) / (height * width)
            rows.append([scale, *(min(1.0, fraction) for fraction in left_over), area])
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
    project(network, WideToys(3))
    return network


def test_a_network_that_reads_what_is_shown_has_all_its_evidence_there():
    """Three by three and five by five cells of 8 x 8 pixels are shown and read."""
    found = score_misalignment(projected(Patches()), WideToys(3))
    assert found.receptive_fields == ((24, 24), (40, 40))
    for evidence in (found.overall, *found.scales):
        assert evidence.inside == pytest.approx(1, abs=1e-6) and evidence.outside < 0.7
    for evidence, side in zip(found.scales, (24, 40), strict=True):
        assert evidence.area <= side**2 / (160 * 120)


def test_a_network_that_reads_everything_has_evidence_elsewhere():
    found = score_misalignment(projected(Everything()), WideToys(3))
    assert found.receptive_fields == ((None, None),) * 2
    assert all(evidence.inside < 0.7 for evidence in (found.overall, *found.scales))


def test_classes_that_no_image_shows_are_not_measured():
    dataset = Given([sample_of(np.full((40, 48), VOID, np.uint8))])
    found = score_misalignment(patch_network(Patches(), 6), dataset)
    nothing = Evidence(None, None, None, 0)
    assert found.overall == nothing and found.scales == (nothing, nothing)


def test_no_more_images_than_asked_for_are_measured():
    network = patch_network(Patches(), 6)
    assert score_misalignment(network, Toys(4), images=2).overall.measurements <= 2 * 12


def test_two_processes_measure_the_same(monkeypatch):
    network = patch_network(Patches(), 6)

    def measure():
        return score_misalignment(network, Toys(5), images=2)

    alone = measure()
    for shared in in_two(monkeypatch, measure):
        assert shared.overall.inside == pytest.approx(alone.overall.inside)
        assert shared.overall.measurements == alone.overall.measurements
        assert [scale.area for scale in shared.scales] == pytest.approx([scale.area for scale in alone.scales])
