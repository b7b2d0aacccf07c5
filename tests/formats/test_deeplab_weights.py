"""DeepLab weights from Caffe give the features of their own network, which expects other pixel values."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.errors import UserError
from scaleprotoseg.formats.bundle import save
from scaleprotoseg.formats.deeplab_weights import encoder_key, load_deeplab_encoder
from scaleprotoseg.formats.encoder_weights import is_weight_file
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, InputConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.network import Network
from scaleprotoseg.training.config import DataConfig
from scaleprotoseg.training.curriculum import start
from scaleprotoseg.training.phases.fit import Fit
from scaleprotoseg.training.recipe import Recipe
from scaleprotoseg.training.run_folder import RunFolder
from tests.builders.published import ResNet, lively

BLOCKS = (1, 1, 1, 1)
LABELS = LabelTable.from_json({"classes": ["sky", "sea"]})


def config(name: str = "caffe_resnet101", blocks: tuple[int, ...] | None = BLOCKS, **changes) -> NetworkConfig:
    encoder = EncoderConfig(name, blocks=blocks, **changes)
    return NetworkConfig(
        encoder, PyramidConfig((1, 2), 8), HeadConfig("direct"), InputConfig(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
    )


def weights(blocks: tuple[int, ...] = BLOCKS) -> tuple[nn.Module, OrderedDict[str, Tensor]]:
    """A network as in the Caffe release, and its state dict with a classifier."""
    torch.manual_seed(5)
    model = lively(ResNet(blocks, 8, False))
    # Weights for pixel values in 0-255 are smaller by this factor.
    model.layer1.conv1.conv.weight.data /= 60
    return model, model.state_dict()


def written(path: Path, prefix: str, old: bool, blocks: tuple[int, ...] = BLOCKS) -> nn.Module:
    model, state = weights(blocks)
    named = OrderedDict((prefix + name, tensor) for name, tensor in state.items() if "num_batches" not in name)
    named["fc.weight"] = torch.zeros(91, 2048)
    torch.save(named, path, _use_new_zipfile_serialization=not old)
    return model


@torch.no_grad()
def caffe_features(model: nn.Module, images: Tensor) -> Tensor:
    """Features of (B, 3, H, W) images in 0-1, red first."""
    means = torch.tensor([104.008, 116.669, 122.675])[:, None, None]
    return nn.Sequential(*list(model)[:-1])(255 * images[:, [2, 1, 0]] - means)


@pytest.mark.parametrize(("prefix", "old"), [("", True), ("base.", False)])
def test_features_are_the_same_away_from_the_border(tmp_path, prefix, old):
    model = written(tmp_path / "coco.pth", prefix, old)
    network = Network(config(), LABELS).eval()
    load_deeplab_encoder(network, tmp_path / "coco.pth")
    image = torch.rand(1, 3, 225, 225)
    with torch.no_grad():
        ours = network.encoder((image - network.mean) / network.std)
    theirs = caffe_features(model, image)
    # The stem is padded differently; through the dilated blocks this reaches nine cells into the map.
    inner = (..., slice(9, -9), slice(9, -9))
    assert float((ours - theirs)[inner].abs().max() / theirs.abs().max()) < 1e-5
    assert float((ours - theirs).abs().max() / theirs.abs().max()) > 1e-4
    assert theirs[inner].std() > 0.1


@pytest.mark.parametrize(
    ("encoder", "blocks", "said"),
    [
        ("resnet18", None, "the recipe's encoder is resnet18; set network.encoder.name"),
        ("caffe_resnet101", (2, 1, 1, 1), "nothing for layer1.1.conv1.weight"),
        ("caffe_resnet101", (1, 1, 1, 1), "layer3.1."),
    ],
)
def test_other_encoders_are_refused(tmp_path, encoder, blocks, said):
    written(tmp_path / "coco.pth", "", False, (1, 1, 2, 1))
    with pytest.raises(UserError, match=rf"coco\.pth: .*{re.escape(said)}"):
        load_deeplab_encoder(Network(config(encoder, blocks), LABELS), tmp_path / "coco.pth")


def test_other_widths_and_other_files_are_refused(tmp_path):
    state = weights()[1]
    state["layer5.block1.increase.conv.weight"] = torch.zeros(1024, 512, 1, 1)
    torch.save(state, tmp_path / "wide.pth")
    network = Network(config(), LABELS)
    with pytest.raises(UserError, match=r"layer4\.0\.conv3\.weight has shape \(1024, 512, 1, 1\) instead of"):
        load_deeplab_encoder(network, tmp_path / "wide.pth")
    torch.save({"epoch": 3}, tmp_path / "log.pth")
    with pytest.raises(UserError, match="holds no plain state dict"):
        load_deeplab_encoder(network, tmp_path / "log.pth")
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "fc.pth")
    with pytest.raises(UserError, match=r"nothing for conv1\.weight"):
        load_deeplab_encoder(network, tmp_path / "fc.pth")


def test_keys():
    assert encoder_key("layer1.conv1.bn.running_var") == "bn1.running_var"
    assert encoder_key("layer4.block23.increase.conv.weight") == "layer3.22.conv3.weight"
    assert encoder_key("layer2.block1.shortcut.bn.bias") == "layer1.0.downsample.1.bias"
    for other in ("layer1.conv2.conv.weight", "layer2.block0.reduce.conv.weight", "aspp.c0.weight", "fc.weight"):
        assert encoder_key(other) is None


def recipe(warm_start: Path) -> Recipe:
    phases = {"joint": Fit(steps=1, learning_rates={"pyramid": 0.1})}
    return Recipe(method="deeplabv2", data=DataConfig(), network=config(), phases=phases, warm_start=str(warm_start))


def test_a_recipe_starts_from_a_file_of_weights_or_from_a_bundle(tmp_path):
    written(tmp_path / "coco.pth", "", False)
    network, done = start(recipe(tmp_path / "coco.pth"), LABELS, RunFolder(tmp_path / "run"))
    save(network, tmp_path / "box.pth")
    again, _ = start(recipe(tmp_path / "box.pth"), LABELS, RunFolder(tmp_path / "run"))
    assert done == 0
    for ours, theirs in zip(again.encoder.state_dict().values(), network.encoder.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(UserError, match=r"none\.pth\.tar: no such file; check the path"):
        start(recipe(tmp_path / "none.pth.tar"), LABELS, RunFolder(tmp_path / "run"))
    assert not is_weight_file("runs/demo/model") and is_weight_file("deeplabv1_resnet101-coco.pth")
