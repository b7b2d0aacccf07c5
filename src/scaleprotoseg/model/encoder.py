"""The dilated CNN: any timm model that can give dense features."""

from __future__ import annotations

from typing import cast

import timm
from timm.models import FeatureListNet
from torch import Tensor, nn

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.config import EncoderConfig


class Encoder(nn.Module):
    """Turns pictures into one dense feature map.

    Args:
        config: Which network, which of its stages, and its output stride.
        in_channels: Channels of the picture.

    Attributes:
        channels: Channels of the feature map.

    Raises:
        UserError: If timm has no such model, or it cannot give features at this stride or stage.
    """

    def __init__(self, config: EncoderConfig, in_channels: int = 3) -> None:
        super().__init__()
        try:
            net = timm.create_model(
                config.name,
                pretrained=config.pretrained,
                features_only=True,
                output_stride=config.output_stride,
                out_indices=(config.stage,),
                in_chans=in_channels,
            )
        except Exception as error:  # timm and its model builders raise many types for one bad name, stride or stage
            raise UserError(
                f"network.encoder: timm cannot build {config.name!r} at output stride {config.output_stride}, stage "
                f"{config.stage} ({error}); choose a convolutional model from timm.list_models()"
            ) from error
        self.net = cast(FeatureListNet, net)
        self.channels: int = self.net.feature_info.channels()[-1]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised pictures to (B, channels, h, w) features, h = ceil(H / output stride)."""
        features: Tensor = self.net(images)[-1]
        return features
