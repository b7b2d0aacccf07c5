"""Encoders of segmentation models from torchvision and from Hugging Face transformers."""

from __future__ import annotations

from typing import Any, cast

import torch
import torchvision
from torch import Tensor, nn

from scaleprotoseg.errors import UserError, first_line
from scaleprotoseg.model.config import EncoderConfig

TORCHVISION, TRANSFORMERS = "torchvision/", "transformers/"
"""What the names of these encoders begin with."""

NO_ARCHITECTURE = (
    "architectures",
    "auto_map",
    "dtype",
    "id2label",
    "label2id",
    "transformers_version",
    "_name_or_path",
)
"""Entries of a transformers configuration that say nothing about the encoder, or where code for it lies."""

SAFE = {"trust_remote_code": False}
"""Nothing that is read may run code of its own."""


class TorchvisionEncoder(nn.Module):
    """The encoder of one of torchvision's segmentation models.

    Args:
        name: Such as ``deeplabv3_resnet50``.
        pretrained: With torchvision's weights.

    Raises:
        ValueError: If there is no such segmentation model.
        OSError: If the weights cannot be fetched.
    """

    def __init__(self, name: str, pretrained: bool) -> None:
        super().__init__()
        names = torchvision.models.list_models(module=torchvision.models.segmentation)
        if name not in names:
            raise ValueError(f"torchvision has {', '.join(names)}")
        weights = "DEFAULT" if pretrained else None
        self.backbone = torchvision.models.get_model(name, weights=weights, weights_backbone=None).backbone

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, h, w) features."""
        maps: dict[str, Tensor] = self.backbone(images)
        return maps["out"] if "out" in maps else maps["high"]


class TransformersEncoder(nn.Module):
    """The encoder of one of Hugging Face's models for semantic segmentation.

    Args:
        name: A folder or Hub id; not read if the architecture is known.
        architecture: As :attr:`architecture`, to build it again; empty if it is to be read.
        stage: Which of its feature maps.
        pretrained: With its weights.

    Attributes:
        architecture: What it takes to build the encoder again, as JSON values.

    Raises:
        ImportError: If transformers is not installed.
        OSError: If there is nothing under this name.
        ValueError: If it is no such model, or its encoder gives no feature maps.
    """

    def __init__(self, name: str, architecture: dict[str, Any], stage: int, pretrained: bool) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModelForSemanticSegmentation

        config = AutoConfig.for_model(**architecture) if architecture else AutoConfig.from_pretrained(name, **SAFE)
        if pretrained:
            model = AutoModelForSemanticSegmentation.from_pretrained(name, dtype=torch.float32, **SAFE)
        else:
            model = AutoModelForSemanticSegmentation.from_config(config, dtype=torch.float32, **SAFE)  # type: ignore[no-untyped-call]
        self.encoder: nn.Module = getattr(model, "backbone", model.base_model)
        self.stage = stage
        self.architecture: dict[str, Any] = _architecture(config.to_diff_dict() | {"model_type": config.model_type})

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, h, w) features."""
        output = self.encoder(images, output_hidden_states=True)
        maps = getattr(output, "feature_maps", None) or [maps for maps in output.hidden_states if maps.ndim == 4]
        if not -len(maps) <= self.stage < len(maps):
            raise ValueError(f"stage {self.stage} of {len(maps)} feature maps")
        return cast(Tensor, maps[self.stage])


def normalisation_of(name: str) -> dict[str, list[float]]:
    """Mean and deviation, by channel, that a transformers model expects of its pictures in 0-1.

    Args:
        name: ``transformers/`` and a folder or Hub id.

    Raises:
        UserError: If there is no such model, or it reads blue first.
    """
    folder = name.removeprefix(TRANSFORMERS)
    try:
        from transformers import AutoImageProcessor

        processor = AutoImageProcessor.from_pretrained(folder, **SAFE)  # type: ignore[no-untyped-call]
        flips = getattr(processor, "do_flip_channel_order", False)
        mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ([0.0] * 3, [1.0] * 3)
        normalisation = {"mean": list(mean), "std": list(std)}
    except ImportError as error:
        raise _not_installed(name) from error
    except Exception as error:  # transformers raises many types for what is missing, broken or out of reach.
        raise UserError(
            f"{name}: says nothing of how it reads pictures ({first_line(error)}); give a whole folder or a Hub id"
        ) from error
    if flips:
        raise UserError(f"{name}: reads blue first, which is not supported; choose another model")
    return normalisation


def foreign_encoder(config: EncoderConfig, in_channels: int) -> TorchvisionEncoder | TransformersEncoder:
    """The encoder that a name with one of the prefixes stands for.

    Args:
        config: Its ``output_stride`` and ``blocks`` do not count: the model has its own.
        in_channels: Channels of the picture, which must be 3.

    Raises:
        UserError: If there is no such encoder, or it cannot be fetched.
    """
    if in_channels != 3:
        raise UserError(f"network.encoder: {config.name} reads red, green and blue; give three channels")
    name = config.name.partition("/")[2]
    try:
        if config.name.startswith(TORCHVISION):
            if config.stage != -1:
                raise ValueError("it gives its last stage only; set stage to -1")
            return TorchvisionEncoder(name, config.pretrained)
        return TransformersEncoder(name, config.architecture, config.stage, config.pretrained)
    except ImportError as error:
        raise _not_installed(config.name) from error
    except Exception as error:  # Both libraries raise many types for one bad name or a failed download.
        raise UserError(
            f"network.encoder: {config.name} cannot be built ({first_line(error)}); give {TORCHVISION} and a "
            f"segmentation model, or {TRANSFORMERS} and the folder or Hub id of one"
        ) from error


def _not_installed(name: str) -> UserError:
    return UserError(f"{name}: needs transformers, which is not installed; pip install 'scaleprotoseg[transformers]'")


def _architecture(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration without what is not architecture, at every depth."""
    return {
        key: _architecture(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if key not in NO_ARCHITECTURE
    }
