"""Encoders of segmentation models from torchvision and from Hugging Face transformers."""

from __future__ import annotations

from typing import Any, cast

import torchvision
from torch import Tensor, nn

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.config import EncoderConfig

TORCHVISION, TRANSFORMERS = "torchvision/", "transformers/"
"""What the names of these encoders begin with."""

NO_ARCHITECTURE = ("architectures", "dtype", "id2label", "label2id", "name_or_path", "transformers_version")
"""Entries of a transformers configuration that say nothing about the encoder."""


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

        config = AutoConfig.for_model(**architecture) if architecture else AutoConfig.from_pretrained(name)
        if pretrained:
            model = AutoModelForSemanticSegmentation.from_pretrained(name)
        else:
            model = AutoModelForSemanticSegmentation.from_config(config)  # type: ignore[no-untyped-call]
        self.encoder: nn.Module = getattr(model, "backbone", model.base_model)
        self.stage = stage
        values = config.to_diff_dict() | {"model_type": config.model_type}
        self.architecture = {key: value for key, value in values.items() if key not in NO_ARCHITECTURE}

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

        processor = AutoImageProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
    except ImportError as error:
        raise _not_installed(name) from error
    except Exception as error:  # transformers raises many types for what is missing, broken or out of reach.
        raise UserError(
            f"{name}: says nothing of how it reads pictures ({_reason(error)}); give a whole folder or a Hub id"
        ) from error
    if getattr(processor, "do_flip_channel_order", False):
        raise UserError(f"{name}: reads blue first, which is not supported; choose another model")
    if not processor.do_normalize:
        return {"mean": [0.0] * 3, "std": [1.0] * 3}
    return {"mean": list(processor.image_mean), "std": list(processor.image_std)}


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
            f"network.encoder: {config.name} cannot be built ({_reason(error)}); give {TORCHVISION} and a segmentation "
            f"model, or {TRANSFORMERS} and the folder or Hub id of one"
        ) from error


def _not_installed(name: str) -> UserError:
    return UserError(f"{name}: needs transformers, which is not installed; pip install 'scaleprotoseg[transformers]'")


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
