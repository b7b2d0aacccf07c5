"""The common interface of all encoder families."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from scaleprotoseg.errors import UserError, first_line
from scaleprotoseg.model.config import EncoderConfig


class Backbone(NamedTuple):
    """A network that computes features, and the properties of its feature map.

    Attributes:
        net: The network; it returns a feature map, or a list of feature maps of which the last one is used.
        channels: Channels of the feature map.
        stride: Pixels of the image per cell of the feature map.
        config: The configuration, completed with everything that is needed to build the network again.
        drops_borders: True if the network ignores the pixels at the right and bottom that do not fill a whole stride,
            as patch embeddings do.
        unused_parameters: True if some parameters never get a gradient.
    """

    net: nn.Module
    channels: int
    stride: int
    config: EncoderConfig
    drops_borders: bool = False
    unused_parameters: bool = False


@torch.no_grad()
def probed(net: nn.Module, config: EncoderConfig) -> Backbone:
    """Find the channels and stride of an RGB network by running it on a blank image.

    Raises:
        UserError: If the network does not compute feature maps for images of any size.
    """
    side = 256
    try:
        features = net.eval()(torch.zeros(1, 3, side, side))
        stride = round(side / features.shape[-1])
        drops = drops_borders(net, 3, stride)
    except Exception as error:  # Models raise many types for an input they do not accept.
        raise UserError(
            f"network.encoder: {config.name} gives no feature maps for images of any size ({first_line(error)}); "
            "choose another stage, or a convolutional or hierarchical encoder"
        ) from error
    return Backbone(net, features.shape[1], stride, config, drops)


@torch.no_grad()
def drops_borders(net: nn.Module, in_channels: int, stride: int) -> bool:
    """Return True if a network ignores the pixels at the right and bottom that do not fill a whole stride."""
    side = 4 * stride + 1
    cells = net.eval()(torch.zeros(1, in_channels, side, side))[-1].shape[-1]
    net.train()
    return bool(cells < 5)
