"""Class maps and probabilities against upsampling the logits of the whole image at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scaleprotoseg.explanation.explanation import explain
from scaleprotoseg.inference.prediction import class_map, probabilities
from scaleprotoseg.model import upsampling
from tests.builders.networks import small_network


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
@settings(deadline=None)
def test_class_map_is_the_best_class_of_the_upsampled_logits(shape, size):
    logits = torch.randn(shape)
    whole = F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upsampling, "STRIP_VALUES", 3 * size[1] * shape[0])  # three rows per strip
        classes = class_map(logits, size[1], size[0])
        chances = probabilities(logits, size[1], size[0])
    assert (classes == whole.argmax(0).numpy()).mean() > 0.99
    np.testing.assert_allclose(chances, whole.softmax(0).numpy(), atol=1e-5)


def test_class_map_in_strips_equals_class_map_at_once():
    logits = torch.randn(200, 9, 11)
    width, height = 700, 500
    whole = F.interpolate(logits[None], size=(height, width), mode="bilinear", align_corners=False)[0].argmax(0).numpy()
    assert (class_map(logits, width, height) != whole).mean() < 1e-4


def test_predictions_have_the_size_of_the_image():
    explanation = explain(small_network(size=24), Image.new("RGB", (50, 31)))
    assert explanation.prediction.shape == (31, 50)
