"""Hugging Face's models for semantic segmentation as encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from scaleprotoseg.errors import UserError, first_line
from scaleprotoseg.model.config import EncoderConfig, InputConfig, InputSize
from scaleprotoseg.model.encoders.backbone import Backbone, probed, stages_of
from scaleprotoseg.model.encoders.classifier_input import Description, at_classifier

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

LARGEST_STRIDE = 32
"""Output stride of models whose configuration names none."""


class TransformersEncoder(nn.Module):
    """The encoder of one of Hugging Face's models for semantic segmentation.

    Args:
        model: The model.
        stages: Indices of the feature maps to return, from early to late.
    """

    def __init__(self, model: Any, stages: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder: nn.Module = getattr(model, "backbone", model.base_model)
        self.stages = stages

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """Compute (B, channels, h, w) features of (B, 3, H, W) images."""
        output = self.encoder(images, output_hidden_states=True)
        maps = getattr(output, "feature_maps", None) or [maps for maps in output.hidden_states if maps.ndim == 4]
        if not all(-len(maps) <= stage < len(maps) for stage in self.stages):
            raise ValueError(f"stage {self.stages} of {len(maps)} feature maps")
        return [maps[stage] for stage in self.stages]


def build(config: EncoderConfig, in_channels: int) -> Backbone:
    """Build the encoder of a transformers model; ``output_stride`` and ``blocks`` of the configuration are ignored.

    Raises:
        UserError: If there is no such model, it cannot be downloaded, transformers is missing, or images are not RGB.
    """
    if in_channels != 3:
        raise UserError(f"network.encoder: {config.name} reads red, green and blue; give three channels")
    try:
        model, architecture = _model(config)
        built = replace(config, architecture=architecture)
        if config.stage == "classifier":
            if not architecture.get("tf_padding"):
                return at_classifier(model, model.config.num_labels, built)
            # TensorFlow pads on both sides alike only if the sides of an image are multiples of the stride, plus 1.
            stride = architecture.get("output_stride", LARGEST_STRIDE)
            return at_classifier(model, model.config.num_labels, replace(built, aligned=True), stride, 1)
        net = TransformersEncoder(model, stages_of(config))
    except ImportError as error:
        raise _not_installed(config.name) from error
    except UserError:
        raise
    except Exception as error:  # transformers raises many types for a bad name or a failed download.
        raise UserError(
            f"network.encoder: {config.name} cannot be built ({first_line(error)}); give {TRANSFORMERS} and the folder "
            "or Hub id of a segmentation model"
        ) from error
    # The layers after the last of the stages get no gradient.
    return probed(net, built)._replace(unused_parameters=True)


def describe(name: str) -> Description:
    """Read the classes of a transformers model, and the images that it expects, from its configuration files.

    Images are not resized if the image processor cuts out a square, because pixels would be lost; they are padded to
    the size of the square instead.

    Args:
        name: ``transformers/`` and a folder or Hub id.

    Raises:
        UserError: If there is no such model, or it reads the blue channel first.
    """
    folder = name.removeprefix(TRANSFORMERS)
    try:
        from transformers import AutoConfig, AutoImageProcessor

        labels = AutoConfig.from_pretrained(folder, **SAFE).id2label
        processor = AutoImageProcessor.from_pretrained(folder, **SAFE)  # type: ignore[no-untyped-call]
        mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ([0.0] * 3, [1.0] * 3)
        crops = getattr(processor, "do_center_crop", False)
        pad = max(processor.crop_size["height"], processor.crop_size["width"]) if crops else 0
        size = _size(processor.size) if processor.do_resize and not crops else None
        described = Description(
            tuple(str(labels[index]) for index in range(len(labels))),
            InputConfig(size, mean=tuple(mean), std=tuple(std)),
            pad,
        )
    except ImportError as error:
        raise _not_installed(name) from error
    except Exception as error:  # transformers raises many types for files that are missing or broken.
        raise UserError(
            f"{name}: its image processor cannot be read ({first_line(error)}); give a complete folder or a Hub id"
        ) from error
    if getattr(processor, "do_flip_channel_order", False):
        raise UserError(f"{name}: reads the blue channel first, which is not supported; choose another model")
    return described


def _size(size: Mapping[str, int]) -> InputSize:
    """Return the size to which an image processor resizes images."""
    if "shortest_edge" in size:
        return size["shortest_edge"]
    return size["height"], size["width"]


def _model(config: EncoderConfig) -> tuple[Any, dict[str, Any]]:
    """Build a model, and return the configuration from which it can be built again, as JSON values."""
    from transformers import AutoConfig, AutoModelForSemanticSegmentation
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    name, known = config.name.removeprefix(TRANSFORMERS), config.architecture
    described = AutoConfig.for_model(**known) if known else AutoConfig.from_pretrained(name, **SAFE)
    if config.pretrained:
        model = AutoModelForSemanticSegmentation.from_pretrained(name, dtype=torch.float32, **SAFE)
    else:
        model = AutoModelForSemanticSegmentation.from_config(described, dtype=torch.float32, **SAFE)  # type: ignore[no-untyped-call]
    architecture = _architecture(described.to_diff_dict() | {"model_type": described.model_type})
    if config.stage == "classifier":
        architecture["num_labels"] = described.num_labels
    return model, architecture


def _not_installed(name: str) -> UserError:
    return UserError(f"{name}: needs transformers, which is not installed; pip install transformers")


def _architecture(values: dict[str, Any]) -> dict[str, Any]:
    """Drop the entries that do not describe the architecture, at every depth."""
    return {
        key: _architecture(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if key not in NO_ARCHITECTURE
    }
