"""Encoders of Hugging Face's models for semantic segmentation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from scaleprotoseg.errors import UserError, first_line
from scaleprotoseg.model.config import EncoderConfig
from scaleprotoseg.model.encoders.backbone import Backbone, probed

TRANSFORMERS = "transformers/"
"""Prefix of these encoders, before a folder or a Hub id."""

NO_ARCHITECTURE = (
    "architectures",
    "auto_map",
    "dtype",
    "id2label",
    "label2id",
    "transformers_version",
    "_name_or_path",
)
"""Entries of a transformers configuration that do not describe the encoder, or that refer to code for it."""

SAFE = {"trust_remote_code": False}
"""Arguments that prevent transformers from running code of the model's repository."""


class TransformersEncoder(nn.Module):
    """The encoder of one of Hugging Face's models for semantic segmentation.

    Args:
        name: A folder or Hub id; not read if the architecture is known.
        architecture: The :attr:`architecture` of an earlier encoder, to build it again; empty to read it from the
            model.
        stage: Index of the feature map to return.
        pretrained: Load the model's weights.

    Attributes:
        architecture: Configuration that is needed to build the encoder again, as JSON values.

    Raises:
        ImportError: If transformers is not installed.
        OSError: If there is no model of this name.
        ValueError: If it is not a segmentation model, or its encoder gives no feature maps.
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
        """Compute (B, channels, h, w) features of (B, 3, H, W) images."""
        output = self.encoder(images, output_hidden_states=True)
        maps = getattr(output, "feature_maps", None) or [maps for maps in output.hidden_states if maps.ndim == 4]
        if not -len(maps) <= self.stage < len(maps):
            raise ValueError(f"stage {self.stage} of {len(maps)} feature maps")
        return cast(Tensor, maps[self.stage])


def build(config: EncoderConfig, in_channels: int) -> Backbone:
    """Build the encoder of a transformers model; ``output_stride`` and ``blocks`` of the configuration are ignored.

    Raises:
        UserError: If there is no such model, it cannot be downloaded, transformers is missing, or images are not RGB.
    """
    if in_channels != 3:
        raise UserError(f"network.encoder: {config.name} reads red, green and blue; give three channels")
    try:
        folder = config.name.removeprefix(TRANSFORMERS)
        net = TransformersEncoder(folder, config.architecture, config.stage, config.pretrained)
    except ImportError as error:
        raise _not_installed(config.name) from error
    except Exception as error:  # transformers raises many types for a bad name or a failed download.
        raise UserError(
            f"network.encoder: {config.name} cannot be built ({first_line(error)}); give {TRANSFORMERS} and the folder "
            "or Hub id of a segmentation model"
        ) from error
    # The layers after the chosen stage get no gradient.
    return probed(net, replace(config, architecture=net.architecture))._replace(unused_parameters=True)


def normalization_of(name: str) -> dict[str, list[float]]:
    """Read the channel means and deviations that a transformers model expects of images in 0-1.

    Args:
        name: ``transformers/`` and a folder or Hub id.

    Raises:
        UserError: If there is no such model, or it reads the blue channel first.
    """
    folder = name.removeprefix(TRANSFORMERS)
    try:
        from transformers import AutoImageProcessor

        processor = AutoImageProcessor.from_pretrained(folder, **SAFE)  # type: ignore[no-untyped-call]
        flips = getattr(processor, "do_flip_channel_order", False)
        mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ([0.0] * 3, [1.0] * 3)
        normalization = {"mean": list(mean), "std": list(std)}
    except ImportError as error:
        raise _not_installed(name) from error
    except Exception as error:  # transformers raises many types for files that are missing or broken.
        raise UserError(
            f"{name}: its image processor cannot be read ({first_line(error)}); give a complete folder or a Hub id"
        ) from error
    if flips:
        raise UserError(f"{name}: reads the blue channel first, which is not supported; choose another model")
    return normalization


def _not_installed(name: str) -> UserError:
    return UserError(f"{name}: needs transformers, which is not installed; pip install transformers")


def _architecture(values: dict[str, Any]) -> dict[str, Any]:
    """Drop the entries that do not describe the architecture, at every depth."""
    return {
        key: _architecture(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if key not in NO_ARCHITECTURE
    }
