"""The ResNet of DeepLabv2's Caffe release, as a modification of timm's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import nn

from scaleprotoseg.model.config import EncoderConfig
from scaleprotoseg.model.encoders import timm_models
from scaleprotoseg.model.encoders.backbone import Backbone

CAFFE = "caffe_"
"""Prefix of these encoders, before timm's name of the ResNet."""

LAST_STAGE = 4
"""Index of a ResNet's last stage in timm; the stem is 0."""

STAGES = {"layer2": (2, 1), "layer3": (1, 2), "layer4": (1, 4)}
"""Stride of the first block of each stage, and dilation of all its blocks, at output stride 8."""


def build(config: EncoderConfig, in_channels: int) -> Backbone:
    """Build a ResNet with the strides and dilations of the Caffe release.

    Raises:
        UserError: If timm has no such bottleneck ResNet, or another stride or stage is asked for.
    """

    def modify(net: nn.Module) -> None:
        if config.output_stride != 8 or config.stage not in (-1, LAST_STAGE):
            raise ValueError("the Caffe release has output stride 8 and its last stage only")
        to_caffe_style(net)

    return timm_models.build(config, in_channels, config.name.removeprefix(CAFFE), modify)


def to_caffe_style(net: nn.Module) -> None:
    """Move the strides and dilations of a timm bottleneck ResNet to where the Caffe release has them.

    Max pooling rounds its output size up; the stride is in a block's first 1x1 convolution instead of its 3x3
    convolution; every block of a dilated stage is dilated, including the first. Weights keep their names and shapes, so
    pretrained weights can be loaded.

    Args:
        net: A ``features_only`` ResNet of bottleneck blocks at output stride 8; changed in place.

    Raises:
        AttributeError: If the network is built differently.
    """
    pool = net.get_submodule("maxpool")
    if not isinstance(pool, nn.MaxPool2d):
        raise AttributeError("its stem has no max pooling")
    pool.ceil_mode = True
    for stage, (stride, dilation) in STAGES.items():
        for position, block in enumerate(cast(Iterable[nn.Module], net.get_submodule(stage))):
            if not hasattr(block, "conv3"):
                raise AttributeError("its blocks are not bottlenecks")
            reduce, middle = (cast(nn.Conv2d, block.get_submodule(name)) for name in ("conv1", "conv2"))
            reduce.stride = (stride, stride) if position == 0 else (1, 1)
            middle.stride = (1, 1)
            middle.dilation = middle.padding = (dilation, dilation)
