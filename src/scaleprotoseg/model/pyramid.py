"""The multi-scale pyramid: an ASPP (Chen et al., 2017) whose branches can be kept apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scaleprotoseg.model.config import PyramidConfig


class Pyramid(nn.Module):
    """Parallel convolutions over the same features, one per dilation: 3x3, or 1x1 for dilation 0.

    Args:
        in_channels: Channels of the feature map.
        config: Dilations, channels, and whether the branches are kept apart or summed.

    Attributes:
        fuse: ``keep`` or ``sum``.
        channels: Channels per scale.
        num_scales: Number of scales in the output: the number of dilations if the branches are kept apart, else 1.
        branches: One convolution per dilation.
    """

    def __init__(self, in_channels: int, config: PyramidConfig) -> None:
        super().__init__()
        self.fuse = config.fuse
        self.channels = config.channels
        self.num_scales = len(config.dilations) if config.fuse == "keep" else 1
        self.branches = nn.ModuleList(_branch(in_channels, config.channels, dilation) for dilation in config.dilations)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) features to a (B, num_scales * channels, h, w) pyramid map, before any sigmoid."""
        maps = [branch(features) for branch in self.branches]
        return torch.cat(maps, dim=1) if self.fuse == "keep" else torch.stack(maps).sum(dim=0)


def _branch(in_channels: int, channels: int, dilation: int) -> nn.Conv2d:
    """Build one dilated convolution with weights from N(0, 0.01^2) and biases of 0."""
    kernel = 3 if dilation else 1
    convolution = nn.Conv2d(in_channels, channels, kernel, padding=dilation, dilation=max(1, dilation))
    nn.init.normal_(convolution.weight, std=0.01)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution
