"""The ResNet of DeepLabv2's Caffe release, as a patch on timm's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import nn

STAGES = {"layer2": (2, 1), "layer3": (1, 2), "layer4": (1, 4)}
"""Stride of the first block of a stage, and dilation of all its blocks, at output stride 8."""


def to_caffe_style(net: nn.Module) -> None:
    """Moves the strides and dilations of a timm bottleneck ResNet to where the Caffe release has them.

    Max pooling rounds up; the stride sits in a block's first 1x1 convolution instead of its 3x3; every block of a
    dilated stage is dilated, also the first. Weights keep their names and shapes, so pretrained ones still load.

    Args:
        net: A ``features_only`` ResNet of bottleneck blocks at output stride 8; changed in place.

    Raises:
        AttributeError: If the network is built otherwise.
    """
    pool = net.get_submodule("maxpool")
    if not isinstance(pool, nn.MaxPool2d):
        raise AttributeError("its stem has no max pooling")
    pool.ceil_mode = True
    for stage, (stride, dilation) in STAGES.items():
        for position, block in enumerate(cast(Iterable[nn.Module], net.get_submodule(stage))):
            if not hasattr(block, "conv3"):
                raise AttributeError("its blocks are no bottlenecks")
            reduce, middle = (cast(nn.Conv2d, block.get_submodule(name)) for name in ("conv1", "conv2"))
            reduce.stride = (stride, stride) if position == 0 else (1, 1)
            middle.stride = (1, 1)
            middle.dilation = middle.padding = (dilation, dilation)
