"""The common interface of all encoder families."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from scaleprotoseg.errors import UserError, first_line
from scaleprotoseg.model.config import EncoderConfig
from scaleprotoseg.model.upsampling import upsample

SMALLEST = 64
"""Smallest side of an image, in pixels, that every network accepts."""


class Backbone(NamedTuple):
    """A network that computes features, and the properties of its feature map.

    Attributes:
        net: The network; it returns a feature map, or a list of feature maps, the largest first.
        channels: Channels of the feature map, or of all maps together.
        stride: Pixels of the image per cell of the feature map; of the first one, if there are several.
        config: The configuration, completed with everything that is needed to build the network again.
        multiple: Number of pixels to a multiple of which images are padded at the right and bottom; more than 1 for a
            network that ignores or rejects pixels that do not fill a whole stride, as patch embeddings do.
        remainder: Number of pixels to add to the multiple.
        unused_parameters: True if some parameters never get a gradient.
    """

    net: nn.Module
    channels: int
    stride: int
    config: EncoderConfig
    multiple: int = 1
    remainder: int = 0
    unused_parameters: bool = False


def stages_of(config: EncoderConfig) -> tuple[int, ...]:
    """Return the indices of the feature stages.

    Raises:
        ValueError: If the features are those of a classifier.
    """
    if config.stage == "classifier":
        raise ValueError("it has no classifier of segmentation; give the index of a stage")
    return config.stage if isinstance(config.stage, tuple) else (config.stage,)


def concatenated(features: Tensor | list[Tensor]) -> Tensor:
    """Concatenate (B, channels, h, w) feature maps at the size of the first."""
    if isinstance(features, Tensor):
        return features
    first, *others = features
    return torch.cat([first, *(upsample(maps, first.shape[-2:]) for maps in others)], dim=1) if others else first


@torch.no_grad()
def probed(net: nn.Module, config: EncoderConfig, multiple: int | None = None, remainder: int = 0) -> Backbone:
    """Find the channels and stride of an RGB network by running it on a blank image.

    Args:
        net: The network.
        config: Its configuration.
        multiple: See :class:`Backbone`; None to find it.
        remainder: See :class:`Backbone`.

    Raises:
        UserError: If the network does not compute feature maps for images of any size.
    """
    side = 256
    try:
        features = concatenated(net.eval()(torch.zeros(1, 3, side, side)))
        stride = round(side / features.shape[-1])
        if multiple is None:
            multiple = stride if drops_borders(net, 3, stride) else 1
    except Exception as error:  # Models raise many types for an input they do not accept.
        raise UserError(
            f"network.encoder: {config.name} gives no feature maps for images of any size ({first_line(error)}); "
            "choose another stage, or a convolutional or hierarchical encoder"
        ) from error
    return Backbone(net, features.shape[1], stride, config, multiple, remainder)


@torch.no_grad()
def drops_borders(net: nn.Module, in_channels: int, stride: int) -> bool:
    """Return True if a network ignores the pixels at the right and bottom that do not fill a whole stride."""
    cells = max(4, SMALLEST // stride)
    side = cells * stride + 1
    found = net.eval()(torch.zeros(1, in_channels, side, side))[-1].shape[-1]  # of the image, or of the last map
    net.train()
    return bool(found <= cells)
