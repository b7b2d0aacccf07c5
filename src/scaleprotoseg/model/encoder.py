"""The encoder: any timm model that can give dense features, that of another segmentation model, or one of our own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import timm
import torch
import torch.nn.functional as F
from timm.models import FeatureListNet
from torch import Tensor, nn

from scaleprotoseg.errors import UserError, first_line
from scaleprotoseg.model.caffe_resnet import to_caffe_style
from scaleprotoseg.model.config import EncoderConfig
from scaleprotoseg.model.foreign import TORCHVISION, TRANSFORMERS, TransformersEncoder, foreign_encoder
from scaleprotoseg.model.unet import UNet

OWN: dict[str, tuple[int, Callable[[int], nn.Module]]] = {
    "unet": (64, partial(UNet, width=64)),
    "unet16": (16, partial(UNet, width=16)),
}
"""Encoders that timm does not have: channels of their features, which are as large as the picture, and how to build one
for a number of input channels."""

CAFFE = "caffe_"
"""Before the name of a timm ResNet: built as in DeepLabv2's Caffe release."""

LAST_STAGE = 4
"""Of a ResNet, as timm counts; the stem is 0."""


class Encoder(nn.Module):
    """Turns pictures into one dense feature map.

    Args:
        config: Which network, which of its stages, and its output stride.
        in_channels: Channels of the picture.

    Attributes:
        config: As given, with everything it takes to build the encoder again.
        channels: Channels of the feature map.
        stride: Pixels of the picture per cell of the feature map: the output stride, or less at an early stage.
        net: The network itself; timm's give a list of feature maps, our own give one.

    Raises:
        UserError: If there is no such model, it cannot give features at this stride or stage, or its weights cannot be
            fetched.
    """

    def __init__(self, config: EncoderConfig, in_channels: int = 3) -> None:
        super().__init__()
        self.config = config
        if config.name.startswith((TORCHVISION, TRANSFORMERS)):
            self.net: nn.Module = foreign_encoder(config, in_channels)
            if isinstance(self.net, TransformersEncoder):
                self.config = replace(config, architecture=self.net.architecture)
            self.channels, self.stride, self._pads = _shape_of(self.net, config.name)
            return
        if config.name in OWN:
            if config.pretrained:
                raise UserError(f"network.encoder: {config.name} has no pretrained weights; set pretrained to false")
            self.channels, build = OWN[config.name]
            self.stride, self._pads, self.net = 1, False, build(in_channels)
            return
        try:
            net = _timm_features(config, in_channels, pretrained=False)
            self.stride = net.feature_info.reduction()[-1]
            self._pads = _drops_borders(net, in_channels, self.stride)
        except Exception as error:  # timm and its model builders raise many types for one bad name, stride or stage
            raise UserError(
                f"network.encoder: timm cannot build {config.name!r} at output stride {config.output_stride}, stage "
                f"{config.stage} ({error}); choose a convolutional model from timm.list_models(), or one of "
                f"{', '.join(OWN)}"
            ) from error
        if config.pretrained:
            try:
                net = _timm_features(config, in_channels, pretrained=True)
            except Exception as error:  # So do its ways to the weights.
                raise UserError(
                    f"network.encoder: the weights of {config.name} cannot be fetched ({first_line(error)}); "
                    "connect to the network once, or set pretrained to false and name a warm_start"
                ) from error
        self.net = net
        self.channels = net.feature_info.channels()[-1]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised pictures to (B, channels, h, w) features, h = ceil(H / stride) or one more."""
        if self._pads:
            height, width = images.shape[-2:]
            images = F.pad(images, (0, -width % self.stride, 0, -height % self.stride))
        features: Tensor | list[Tensor] = self.net(images)
        return features if isinstance(features, Tensor) else features[-1]


def _timm_features(config: EncoderConfig, in_channels: int, pretrained: bool) -> FeatureListNet:
    blocks: dict[str, Any] = {} if config.blocks is None else {"layers": config.blocks}
    net = timm.create_model(
        config.name.removeprefix(CAFFE),
        pretrained=pretrained,
        features_only=True,
        output_stride=config.output_stride,
        out_indices=(config.stage,),
        in_chans=in_channels,
        **blocks,
    )
    if config.name.startswith(CAFFE):
        if config.output_stride != 8 or config.stage not in (-1, LAST_STAGE):
            raise ValueError("the Caffe release has output stride 8 and its last stage only")
        to_caffe_style(net)
    return cast(FeatureListNet, net)


@torch.no_grad()
def _shape_of(net: nn.Module, name: str) -> tuple[int, int, bool]:
    """Channels and stride of a network's features, and whether it drops borders."""
    side = 256
    try:
        features = net.eval()(torch.zeros(1, 3, side, side))
        stride = round(side / features.shape[-1])
        drops = _drops_borders(net, 3, stride)
    except Exception as error:  # Whatever a model asks of its pictures that these are not.
        raise UserError(
            f"network.encoder: {name} gives no feature maps of pictures of any size ({first_line(error)}); "
            "choose another stage, or a convolutional or hierarchical encoder"
        ) from error
    return features.shape[1], stride, drops


@torch.no_grad()
def _drops_borders(net: nn.Module, in_channels: int, stride: int) -> bool:
    """Whether a network ignores what a picture has beyond whole strides (patch embeddings do)."""
    side = 4 * stride + 1
    cells = net.eval()(torch.zeros(1, in_channels, side, side))[-1].shape[-1]
    net.train()
    return bool(cells < 5)
