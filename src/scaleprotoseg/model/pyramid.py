"""The multi-scale pyramid: an ASPP whose branches may be kept apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scaleprotoseg.model.config import PyramidConfig


class Pyramid(nn.Module):
    """Parallel 3x3 convolutions, one a dilation, each reading the same features at its own reach.

    Args:
        in_channels: Channels of the feature map.
        config: Dilations, width, and whether the branches are kept apart or summed.

    Attributes:
        num_scales: Scales in the output: the number of dilations if kept apart, else 1.
        channels: Channels per scale.
    """

    def __init__(self, in_channels: int, config: PyramidConfig) -> None:
        super().__init__()
        self.fuse = config.fuse
        self.channels = config.channels
        self.num_scales = len(config.dilations) if config.fuse == "keep" else 1
        self.branches = nn.ModuleList(_branch(in_channels, config.channels, dilation) for dilation in config.dilations)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) features to (B, num_scales * channels, h, w), before any sigmoid."""
        maps = [branch(features) for branch in self.branches]
        return torch.cat(maps, dim=1) if self.fuse == "keep" else torch.stack(maps).sum(dim=0)


def _branch(in_channels: int, channels: int, dilation: int) -> nn.Conv2d:
    """One dilated convolution, its weights from N(0, 0.01^2)."""
    convolution = nn.Conv2d(in_channels, channels, 3, padding=dilation, dilation=dilation)
    nn.init.normal_(convolution.weight, std=0.01)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution
