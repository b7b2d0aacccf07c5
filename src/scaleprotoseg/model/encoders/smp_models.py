"""Models of segmentation_models.pytorch (smp) as encoders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from scaleprotoseg.errors import UserError, first_line
from scaleprotoseg.model.config import EncoderConfig, InputConfig
from scaleprotoseg.model.encoders.backbone import Backbone, probed, stages_of
from scaleprotoseg.model.encoders.classifier_input import Description, at_classifier

SMP = "smp/"
"""Prefix of these encoders, before a folder that ``save_pretrained`` wrote or a Hub id."""

MULTIPLE = 32
"""Number of pixels of which smp's models accept only multiples as the sides of an image."""


class SmpEncoder(nn.Module):
    """The encoder of a model of segmentation_models.pytorch.

    Args:
        model: The model.
        stages: Indices of the feature maps to return, from early to late.
    """

    def __init__(self, model: nn.Module, stages: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = model.get_submodule("encoder")
        self.stages = stages

    def forward(self, images: Any) -> Any:
        """Compute (B, channels, h, w) features of (B, channels, H, W) images."""
        maps = self.encoder(images)
        return [maps[stage] for stage in self.stages]


def build(config: EncoderConfig, in_channels: int) -> Backbone:
    """Build an smp model; ``output_stride`` and ``blocks`` of the configuration are ignored.

    Raises:
        UserError: If there is no such model, it cannot be downloaded, smp is missing, or images have other channels.
    """
    try:
        import segmentation_models_pytorch as smp

        name = config.name.removeprefix(SMP)
        architecture = dict(config.architecture or _read_config(name))
        if architecture.get("in_channels", in_channels) != in_channels or in_channels != 3:
            raise ValueError("only models for red, green and blue are supported")
        if config.pretrained:
            model = smp.from_pretrained(name)
        else:
            arguments = {key: value for key, value in architecture.items() if key != "_model_class"}
            model = smp.create_model(str(architecture["_model_class"]), **arguments | {"encoder_weights": None})
        built = replace(config, architecture=architecture)
        if config.stage == "classifier":
            return at_classifier(model, int(architecture["classes"]), built, MULTIPLE)
        return probed(SmpEncoder(model, stages_of(config)), built, MULTIPLE)._replace(unused_parameters=True)
    except ImportError as error:
        raise UserError(
            f"{config.name}: needs segmentation_models_pytorch, which is not installed; "
            "pip install segmentation-models-pytorch"
        ) from error
    except UserError:
        raise
    except Exception as error:  # smp raises many types for a bad name or a failed download.
        raise UserError(
            f"network.encoder: {config.name} cannot be built ({first_line(error)}); give {SMP} and a folder that "
            "save_pretrained wrote, or a Hub id"
        ) from error


def describe(name: str) -> Description:
    """Return the classes of an smp model, which have no names, and the images that it expects.

    Args:
        name: ``smp/`` and a folder or Hub id.

    Raises:
        UserError: If there is no such model.
    """
    try:
        values = _read_config(name.removeprefix(SMP))
        classes = values.get("class_names") or [f"class {index}" for index in range(int(values["classes"]))]
    except Exception as error:  # huggingface_hub raises many types.
        raise UserError(
            f"{name}: cannot be read ({first_line(error)}); give {SMP} and a folder that save_pretrained wrote, or a "
            "Hub id"
        ) from error
    return Description(tuple(classes), InputConfig())


def _read_config(name: str) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download

    file = Path(name) / "config.json"
    if not file.is_file():
        file = Path(hf_hub_download(name, "config.json"))
    values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return values
