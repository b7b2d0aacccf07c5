"""U-Net, Caffe ResNets and pretrained weights, against plain networks and the published one."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.errors import UserError
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, InputConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.encoders.encoder import Encoder
from scaleprotoseg.model.network import Network
from tests.builders.golden import Golden

CAFFE = EncoderConfig("caffe_resnet101", blocks=(1, 1, 1, 1))


def randomise(module: nn.Module) -> nn.Module:
    """Give batch norms statistics that differ from the initial ones as much as those of a trained network."""
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.2, 0.2)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.running_mean, -0.2, 0.2)
    return module.eval()


def plain_unet(net: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """A U-Net as its figure in the paper shows it, with the weights of ours."""

    def block(layers, x):
        for convolution, norm in ((layers[0], layers[1]), (layers[3], layers[4])):
            x = F.conv2d(x, convolution.weight, padding=1)
            shape = (1, -1, 1, 1)
            x = (x - norm.running_mean.view(shape)) / (norm.running_var.view(shape) + norm.eps).sqrt()
            x = (x * norm.weight.view(shape) + norm.bias.view(shape)).clamp_min(0)
        return x

    a = block(net.stem, images)
    b = block(net.down[0], F.max_pool2d(a, 2))
    c = block(net.down[1], F.max_pool2d(b, 2))
    d = block(net.down[2], F.max_pool2d(c, 2))
    x = block(net.down[3], F.max_pool2d(d, 2))
    for level, skip in enumerate((d, c, b, a)):
        x = F.conv_transpose2d(x, net.up[level].weight, net.up[level].bias, stride=2)
        x = block(net.merge[level], torch.cat([skip, x], dim=1))
    return F.conv2d(x, net.out.weight, net.out.bias)


@torch.no_grad()
def test_unet_is_a_unet():
    encoder = randomise(Encoder(EncoderConfig("unet16")))
    images = torch.rand(2, 3, 32, 48)
    torch.testing.assert_close(encoder(images), plain_unet(encoder.net, images), rtol=1e-4, atol=1e-5)
    assert (encoder.channels, encoder.stride) == (16, 1)
    for height, width in ((37, 51), (12, 40), (3, 1)):
        assert encoder(torch.rand(1, 3, height, width)).shape == (1, 16, height, width)
    assert Encoder(EncoderConfig("unet")).channels == 64


@torch.no_grad()
def test_caffe_style_moves_strides_and_dilations():
    encoder = Encoder(EncoderConfig("caffe_resnet50")).eval()
    for stage, stride, dilation in (("layer1", 1, 1), ("layer2", 2, 1), ("layer3", 1, 2), ("layer4", 1, 4)):
        for index, block in enumerate(encoder.net.get_submodule(stage)):
            assert block.conv1.stride == ((stride, stride) if index == 0 else (1, 1))
            assert (block.conv2.stride, block.conv2.dilation) == ((1, 1), (dilation, dilation))
            if index == 0:
                assert block.downsample[0].stride == (stride, stride)
    assert encoder(torch.rand(1, 3, 512, 64)).shape == (1, 2048, 65, 9)


def test_caffe_style_loads_timms_weights():
    plain = Encoder(EncoderConfig("resnet50"))
    assert {name: value.shape for name, value in plain.state_dict().items()} == {
        name: value.shape for name, value in Encoder(EncoderConfig("caffe_resnet50")).state_dict().items()
    }


@pytest.mark.parametrize("name", ["caffe_resnet18", "caffe_convnext_tiny", "caffe_nothing"])
def test_networks_without_a_caffe_style(name):
    with pytest.raises(UserError, match=f"cannot build '{name}'"):
        Encoder(EncoderConfig(name))


@pytest.mark.parametrize("name", ["resnet10t", "caffe_resnet26"])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_pretrained_weights_come_from_timm(name, channels, monkeypatch):
    torch.manual_seed(1)
    stored = timm.create_model(name.removeprefix("caffe_")).state_dict()
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(stored))
    encoder = Encoder(EncoderConfig(name, pretrained=True), in_channels=channels)
    own = encoder.net.state_dict()
    first = next(iter(own))
    for key, value in own.items():
        if key != first or channels == 3:
            assert torch.equal(value, stored[key]), key
    assert own[first].shape[1] == channels
    if channels == 5:  # timm repeats the three filters and scales them down.
        repeated = stored[first][:, [0, 1, 2, 0, 1]] * (3 / 5)
        torch.testing.assert_close(own[first], repeated)


def test_weights_that_cannot_be_had(monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to host\nat all")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    with pytest.raises(UserError, match=r"weights of resnet10t cannot be downloaded \(no route to host\); connect"):
        Encoder(EncoderConfig("resnet10t", pretrained=True))
    with pytest.raises(UserError, match="unet has no pretrained weights"):
        Encoder(EncoderConfig("unet", pretrained=True))


@pytest.mark.parametrize("changes", [{"output_stride": 16}, {"stage": 3}])
def test_the_caffe_style_is_that_of_the_whole_network(changes):
    with pytest.raises(UserError, match="output stride 8 and its last stage only"):
        Encoder(EncoderConfig("caffe_resnet50", **changes))


@pytest.mark.parametrize("name", ["unet16", "resnet10t", "caffe_resnet50"])
@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_input_channels(name, channels):
    encoder = Encoder(EncoderConfig(name), in_channels=channels).eval()
    assert encoder(torch.rand(1, channels, 40, 48)).shape[1] == encoder.channels


def golden_network(golden: Golden, **changes) -> Network:
    """The recorded stage-1 network; batch norms and convolutions by their order in the network."""
    config = NetworkConfig(CAFFE, PyramidConfig(), HeadConfig(), InputConfig(**changes))
    network = Network(config, LabelTable.from_json({"classes": list("abcde")})).eval()
    stored = golden.stage1
    network.prototypes.vectors.data.copy_(stored["prototype_vectors"].flatten(1))
    network.head.classifier.data.copy_(stored["last_layer.weight"])
    for index, branch in enumerate(network.pyramid.branches):
        branch.load_state_dict({part: stored[f"features.base.aspp.c{index}.{part}"] for part in ("weight", "bias")})
    blocks = [("conv1", "bn1", "layer1.conv1")]
    for stage in range(1, 5):
        for ours, theirs in (("1", "reduce"), ("2", "conv3x3"), ("3", "increase")):
            blocks.append(
                (f"layer{stage}.0.conv{ours}", f"layer{stage}.0.bn{ours}", f"layer{stage + 1}.block1.{theirs}")
            )
        blocks.append(
            (f"layer{stage}.0.downsample.0", f"layer{stage}.0.downsample.1", f"layer{stage + 1}.block1.shortcut")
        )
    for convolution, norm, theirs in blocks:
        for ours, part in ((convolution, "conv"), (norm, "bn")):
            prefix = f"features.base.{theirs}.{part}."
            state = {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}
            network.encoder.net.get_submodule(ours).load_state_dict(state)
    return network


@torch.no_grad()
def test_the_published_network_pixel_to_logit(golden):
    images = golden["images"][:2].permute(0, 3, 1, 2) / 255
    network = golden_network(golden)
    golden.check(network.pyramid_map(images), "stage1.pyramid")
    golden.check(network(images).logits, "stage1.logits")


@torch.no_grad()
def test_multi_input(golden):
    images = golden["images"][:2].permute(0, 3, 1, 2) / 255
    output = golden_network(golden, scales=(0.5, 0.75))(images)
    golden.check(output.distances, "multi_input.distances")
    golden.check(output.logits, "multi_input.logits")


def test_training_learns_from_every_reading_of_an_image(golden):
    network = golden_network(golden, scales=(0.5, 0.75))
    one, half, three_quarters, largest = network.pyramid_maps(network.features(torch.rand(1, 3, 64, 96)))
    sizes = [tuple(maps.shape[-2:]) for maps in (one, half, three_quarters, largest)]
    assert sizes == [(9, 13), (5, 7), (7, 10), (9, 13)]
    upsampled = F.interpolate(half, size=(9, 13), mode="bilinear")
    assert (largest >= one).all() and (largest >= upsampled - 1e-6).all()


def test_factors_must_be_positive():
    with pytest.raises(UserError, match=r"network\.input\.scales is \[0\.0\]"):
        InputConfig(scales=(0.0,))
