"""Images of any size: tiles, strips and resizing give what the whole image at once gives."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scaleprotoseg.explanation.explanation import explain
from scaleprotoseg.inference import tiles
from scaleprotoseg.inference.prediction import class_map, logits_of
from scaleprotoseg.inference.tiles import input_size
from scaleprotoseg.model.config import EncoderConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.encoders.encoder import Encoder
from scaleprotoseg.model.network import Network
from tests.builders.images import LABELS
from tests.builders.networks import small_network


def test_tiles_equal_the_whole(monkeypatch):
    network = small_network()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (150, 212, 3), dtype=np.uint8))
    whole = logits_of(network, image)
    # resnet10t up to stage 2 and a dilation of 2 see less than 64 pixels to each side.
    monkeypatch.setattr(tiles, "TILE", 64)
    monkeypatch.setattr(tiles, "MARGIN", 64)
    torch.testing.assert_close(logits_of(network, image), whole, atol=1e-4, rtol=1e-4)


def test_explanations_and_projections_are_tiled_alike(monkeypatch):
    network = small_network()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (150, 212, 3), dtype=np.uint8))
    page = explain(network, image)
    monkeypatch.setattr(tiles, "TILE", 64)
    monkeypatch.setattr(tiles, "MARGIN", 64)
    tiled = explain(network, image)
    torch.testing.assert_close(tiled.similarities, page.similarities, atol=1e-4, rtol=1e-4)
    assert tiled.logits.shape == page.logits.shape


@pytest.mark.parametrize(
    ("encoder", "stage", "stride"), [("convnext_atto", 1, 8), ("resnet10t", 2, 8), ("resnet10t", 1, 4)]
)
def test_the_last_pixels_of_any_image_have_a_cell(encoder, stage, stride):
    features = Encoder(EncoderConfig(encoder, stage=stage))
    assert features.stride == stride
    assert features(torch.rand(1, 3, 41, 50)).shape[-2:] == (-(-41 // stride), -(-50 // stride))


@pytest.mark.parametrize(("size", "expected"), [(None, (30, 40)), (15, (15, 20)), (60, (60, 80)), ((7, 9), (7, 9))])
def test_input_size(size, expected):
    assert input_size(size, width=40, height=30) == expected


@given(width=st.integers(1, 60), height=st.integers(1, 60), size=st.sampled_from([None, 16, (24, 32)]))
@settings(max_examples=15, deadline=None)
def test_any_image_size_gives_a_class_map_of_that_size(width, height, size):
    network = small_network(size=size)
    image = Image.new("RGB", (width, height), (10, 200, 90))
    assert class_map(logits_of(network, image), width, height).shape == (height, width)


@torch.no_grad()
def test_tiles_of_an_encoder_with_a_cell_more_than_whole_strides(monkeypatch):
    config = NetworkConfig(EncoderConfig("caffe_resnet26", blocks=(1, 1, 1, 1)), PyramidConfig((1,), channels=4))
    network = Network(config, LABELS).eval()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 256, 3), dtype=np.uint8))
    whole = logits_of(network, image)
    assert whole.shape[1:] == (17, 33)
    monkeypatch.setattr(tiles, "TILE", 128)
    monkeypatch.setattr(tiles, "MARGIN", 128)  # every tile sees the whole image
    torch.testing.assert_close(logits_of(network, image), whole, rtol=1e-4, atol=1e-4)
