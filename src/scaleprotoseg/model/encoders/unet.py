"""The U-Net, an encoder for electron microscopy (Ronneberger et al., 2015, with padding and batch norm)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.config import EncoderConfig
from scaleprotoseg.model.encoders.backbone import Backbone

DEPTH = 4
"""Number of times that the resolution is halved."""

WIDTHS = {"unet": 64, "unet16": 16}
"""Number of output channels by the name of the encoder."""


def build(config: EncoderConfig, in_channels: int) -> Backbone:
    """Build a U-Net, whose features have the size of the image.

    Raises:
        UserError: If there is no U-Net of this name, or pretrained weights are asked for.
    """
    if config.name not in WIDTHS:
        raise UserError(f"network.encoder: there is no {config.name}; choose one of {', '.join(WIDTHS)}")
    if config.pretrained:
        raise UserError(f"network.encoder: {config.name} has no pretrained weights; set pretrained to false")
    width = WIDTHS[config.name]
    return Backbone(UNet(in_channels, width), width, 1, config)


class UNet(nn.Module):
    """Features at the resolution of the image: four levels down, and four up with skip connections.

    Args:
        in_channels: Channels of the image.
        width: Channels of the first level and of the output; each level below has twice as many as the one above.
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        widths = [width << level for level in range(DEPTH + 1)]
        self.stem = _double_convolution(in_channels, width)
        self.down = nn.ModuleList(_double_convolution(before, after) for before, after in pairwise(widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * after, after, 2, stride=2) for after in widths[-2::-1])
        self.merge = nn.ModuleList(_double_convolution(2 * after, after) for after in widths[-2::-1])
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) images to (B, width, H, W) features."""
        height, width = images.shape[-2:]
        smallest = 1 << DEPTH
        images = F.pad(images, (0, max(0, smallest - width), 0, max(0, smallest - height)))
        levels = [self.stem(images)]
        for down in self.down:
            levels.append(down(F.max_pool2d(levels[-1], 2)))
        features = levels.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            skip = levels.pop()
            features = up(features)
            missing = [skip.shape[axis] - features.shape[axis] for axis in (3, 2)]
            features = F.pad(features, [side for size in missing for side in (size // 2, size - size // 2)])
            features = merge(torch.cat([skip, features], dim=1))
        out: Tensor = self.out(features)[..., :height, :width]
        return out


def _double_convolution(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)),
        *(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)),
    )
