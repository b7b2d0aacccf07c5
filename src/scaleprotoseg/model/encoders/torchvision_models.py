"""Encoders of torchvision's segmentation models."""

from __future__ import annotations

import torchvision
from torch import Tensor, nn

from scaleprotoseg.errors import UserError, first_line
from scaleprotoseg.model.config import EncoderConfig
from scaleprotoseg.model.encoders.backbone import Backbone, probed

TORCHVISION = "torchvision/"
"""Prefix of these encoders, before torchvision's name of the model."""


class TorchvisionEncoder(nn.Module):
    """The encoder of one of torchvision's segmentation models.

    Args:
        name: Name of the model, such as ``deeplabv3_resnet50``.
        pretrained: Load torchvision's weights.

    Raises:
        ValueError: If there is no such segmentation model.
        OSError: If the weights cannot be downloaded.
    """

    def __init__(self, name: str, pretrained: bool) -> None:
        super().__init__()
        names = torchvision.models.list_models(module=torchvision.models.segmentation)
        if name not in names:
            raise ValueError(f"torchvision has {', '.join(names)}")
        weights = "DEFAULT" if pretrained else None
        self.backbone = torchvision.models.get_model(name, weights=weights, weights_backbone=None).backbone

    def forward(self, images: Tensor) -> Tensor:
        """Compute (B, channels, h, w) features of (B, 3, H, W) images."""
        maps: dict[str, Tensor] = self.backbone(images)
        return maps["out"] if "out" in maps else maps["high"]


def build(config: EncoderConfig, in_channels: int) -> Backbone:
    """Build the encoder of a torchvision model; ``output_stride`` and ``blocks`` of the configuration are ignored.

    Raises:
        UserError: If there is no such model, its weights cannot be downloaded, or images are not RGB.
    """
    if in_channels != 3:
        raise UserError(f"network.encoder: {config.name} reads red, green and blue; give three channels")
    try:
        if config.stage != -1:
            raise ValueError("only its last stage is available; set stage to -1")
        net = TorchvisionEncoder(config.name.removeprefix(TORCHVISION), config.pretrained)
    except Exception as error:  # torchvision raises many types for a bad name or a failed download.
        raise UserError(
            f"network.encoder: {config.name} cannot be built ({first_line(error)}); give {TORCHVISION} and the name of "
            "a segmentation model"
        ) from error
    return probed(net, config)
