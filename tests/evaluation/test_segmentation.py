"""Segmentation scores against counting pixel by pixel."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.errors import UserError
from scaleprotoseg.evaluation.segmentation import score_segmentation, scores_from_confusion
from scaleprotoseg.model.network import Network
from tests.builders.images import Toys
from tests.builders.networks import small_network


@given(
    st.integers(2, 5).flatmap(
        lambda c: st.lists(st.tuples(st.integers(0, c - 1), st.integers(0, c - 1)), min_size=1, max_size=40).map(
            lambda pixels: (c, pixels)
        )
    )
)
def test_scores_by_counting(case):
    classes, pixels = case
    confusion = torch.zeros(classes, classes, dtype=torch.long)
    for truth, guess in pixels:
        confusion[truth, guess] += 1
    scores = scores_from_confusion(confusion, 1)
    ious = []
    for label in range(classes):
        both = sum(t == label and g == label for t, g in pixels)
        either = sum(t == label or g == label for t, g in pixels)
        if either:
            ious.append(both / either)
            assert float(scores.iou[label]) == pytest.approx(both / either)
        else:
            assert math.isnan(scores.iou[label])
    assert scores.miou == pytest.approx(sum(ious) / len(ious))
    assert scores.pixel_accuracy == pytest.approx(sum(t == g for t, g in pixels) / len(pixels))


@torch.no_grad()
def test_score_of_a_network_by_hand():
    network, dataset = small_network(), Toys(3)
    right = total = 0
    for index in range(3):
        sample = dataset[index]
        tensor = torch.from_numpy(np.array(sample.image)).permute(2, 0, 1)[None] / 255
        logits = torch.nn.functional.interpolate(network(tensor).logits, size=sample.mask.shape, mode="bilinear")
        guess, valid = logits[0].argmax(0).numpy(), sample.mask != 255
        right += int((guess == sample.mask)[valid].sum())
        total += int(valid.sum())
    assert score_segmentation(network, dataset).pixel_accuracy == pytest.approx(right / total, abs=1e-3)


def test_other_classes_are_refused():
    other = LabelTable.from_json({"classes": ["ground", "disc", "pole"]})
    network = Network(small_network().config, other).eval()
    with pytest.raises(UserError, match=r"its classes .* are not the model's"):
        score_segmentation(network, Toys(1))


def test_an_image_without_mask_is_refused():
    class Unlabeled(Toys):
        def __getitem__(self, index):
            return replace(super().__getitem__(index), mask=None)

    with pytest.raises(UserError, match="has no mask"):
        score_segmentation(small_network(), Unlabeled(1))
