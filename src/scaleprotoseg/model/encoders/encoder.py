"""The encoder: a network that computes one dense feature map of images."""

from __future__ import annotations

from pkgutil import resolve_name

import torch.nn.functional as F
from torch import Tensor, nn

from scaleprotoseg.model.config import EncoderConfig
from scaleprotoseg.model.encoders import FAMILIES
from scaleprotoseg.model.encoders.backbone import Backbone


class Encoder(nn.Module):
    """A network that computes one dense feature map of images.

    Args:
        config: Name of the network, stage and output stride.
        in_channels: Channels of the image.

    Attributes:
        config: The configuration, completed with everything that is needed to build the encoder again.
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
        self.net, self.channels, self.stride, self.config = backbone[:4]
        self.unused_parameters = backbone.unused_parameters
        self._pads = backbone.drops_borders

    def forward(self, images: Tensor) -> Tensor:
        """Compute the features of normalized images.

        Args:
            images: (B, in_channels, H, W) normalized values.

        Returns:
            (B, channels, h, w) features, h = ceil(H / stride) or one more.
        """
        if self._pads:
            height, width = images.shape[-2:]
            images = F.pad(images, (0, -width % self.stride, 0, -height % self.stride))
        features: Tensor | list[Tensor] = self.net(images)
        return features if isinstance(features, Tensor) else features[-1]
