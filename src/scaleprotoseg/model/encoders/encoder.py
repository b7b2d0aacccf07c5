"""The encoder: a network that computes one dense feature map of images."""

from __future__ import annotations

from dataclasses import replace
from pkgutil import resolve_name

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scaleprotoseg.model.config import EncoderConfig
from scaleprotoseg.model.encoders import FAMILIES
from scaleprotoseg.model.encoders.backbone import Backbone, concatenated
from scaleprotoseg.model.upsampling import resample

FINEST = 8
"""Largest stride at which aligned features keep their number of cells when they are resampled, in pixels."""


class Encoder(nn.Module):
    """A network that computes one dense feature map of images.

    Args:
        config: Name of the network, stage and output stride.
        in_channels: Channels of the image.

    Attributes:
        config: The configuration, completed with everything that is needed to build the encoder again, and without the
            origin of its weights.
        channels: Channels of the feature map.
        stride: Pixels of the image per cell of the feature map: the output stride, or less at an early stage.
        net: The network of the encoder's family.
        unused_parameters: True if some parameters never get a gradient.

    Raises:
        UserError: If there is no such model, it cannot compute features at this stride or stage, or its weights cannot
            be downloaded.
    """

    def __init__(self, config: EncoderConfig, in_channels: int = 3) -> None:
        super().__init__()
        build = resolve_name(next(path for prefix, path in FAMILIES.items() if config.name.startswith(prefix)))
        backbone: Backbone = build(config, in_channels)
        self.net, self.channels, native, built = backbone[:4]
        self.config = replace(built, pretrained=False, weights=None)
        self.stride = native // 2 if built.aligned and native > FINEST else native
        self.unused_parameters = backbone.unused_parameters
        self._multiple, self._remainder = backbone.multiple, backbone.remainder

    def forward(self, images: Tensor) -> Tensor:
        """Compute the features of normalized images.

        Args:
            images: (B, in_channels, H, W) normalized values.

        Returns:
            (B, channels, h, w) features, h = ceil(H / stride) or one more.
        """
        height, width = images.shape[-2:]
        right, bottom = self._missing(width), self._missing(height)
        features = concatenated(self.net(F.pad(images, (0, right, 0, bottom)) if right or bottom else images))
        rows, columns = -(-height // self.stride), -(-width // self.stride)
        if self.config.aligned:
            positions = (
                ((torch.arange(cells) + 0.5) * size / cells - 0.5) * (native - 1) / (size + missing - 1)
                for cells, size, missing, native in zip(
                    (rows, columns), (height, width), (bottom, right), features.shape[-2:], strict=True
                )
            )
            return resample(features, *positions)
        return features[..., :rows, :columns] if right or bottom else features

    def _missing(self, length: int) -> int:
        """Return the number of pixels by which a side of an image is padded."""
        wanted = max(length, self.config.pad) - self._remainder
        return -(-wanted // self._multiple) * self._multiple + self._remainder - length
