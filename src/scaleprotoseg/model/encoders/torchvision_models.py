"""torchvision's segmentation models as encoders."""

from __future__ import annotations

from dataclasses import replace

import torchvision
from torch import Tensor, nn

from scaleprotoseg.errors import UserError, first_line
from scaleprotoseg.model.config import EncoderConfig, InputConfig
from scaleprotoseg.model.encoders.backbone import Backbone, probed
from scaleprotoseg.model.encoders.classifier_input import Description, at_classifier

TORCHVISION = "torchvision/"
"""Prefix of these encoders, before torchvision's name of the model."""


NUM_CLASSES = 21
"""Number of classes of a new model, those of Pascal VOC."""


class TorchvisionEncoder(nn.Module):
    """The encoder of one of torchvision's segmentation models.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone = model.get_submodule("backbone")

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
        if config.stage not in (-1, "classifier"):
            raise ValueError("only its last stage is available; set stage to -1, or to classifier")
        name = _known(config.name)
        arguments = {"weights": "DEFAULT"} if config.pretrained else config.architecture
        model = torchvision.models.get_model(name, weights_backbone=None, **arguments)
        if config.stage != "classifier":
            return probed(TorchvisionEncoder(model), config)
        num_classes = config.architecture.get("num_classes", NUM_CLASSES)
        return at_classifier(model, num_classes, replace(config, architecture={"num_classes": num_classes}))
    except UserError:
        raise
    except Exception as error:  # torchvision raises many types for a bad name or a failed download.
        raise UserError(
            f"network.encoder: {config.name} cannot be built ({first_line(error)}); give {TORCHVISION} and the name of "
            "a segmentation model"
        ) from error


def describe(name: str) -> Description:
    """Return the classes of torchvision's pretrained weights, and the images that they expect.

    Args:
        name: ``torchvision/`` and the name of a model.

    Raises:
        UserError: If there is no such segmentation model.
    """
    try:
        weights = torchvision.models.get_model_weights(_known(name)).DEFAULT
        expected = weights.transforms()
        size = int(expected.resize_size[0])
        classes = tuple(category.strip("_") for category in weights.meta["categories"])
        return Description(classes, InputConfig(size, mean=tuple(expected.mean), std=tuple(expected.std)))
    except (AttributeError, KeyError, ValueError) as error:
        raise UserError(f"{name}: torchvision has no such segmentation model ({first_line(error)})") from error


def _known(name: str) -> str:
    """Return torchvision's name of a segmentation model."""
    names = torchvision.models.list_models(module=torchvision.models.segmentation)
    if (own := name.removeprefix(TORCHVISION)) not in names:
        raise ValueError(f"torchvision has {', '.join(names)}")
    return own
