"""Recipes that explain a trained model (post hoc), with its encoder frozen."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import timm
import yaml

from scaleprotoseg.errors import UserError
from scaleprotoseg.formats.bundle import load
from scaleprotoseg.model.encoders.torchvision_models import TORCHVISION
from scaleprotoseg.model.encoders.transformers_models import TRANSFORMERS, normalization_of

POST_HOC = Path(__file__).with_name("post_hoc.yaml")
"""File of the recipe, without the keys that depend on the black box."""

TIMM = "timm/"
"""Prefix of timm models, whose encoder is explained."""


def recipe_over(name: str) -> dict[str, Any]:
    """Build the recipe that explains a trained model.

    Args:
        name: Folder or Hub id of a black box of this library; or ``timm/``, ``torchvision/`` or ``transformers/`` and
            the name of a model of that library.

    Returns:
        The values of :data:`POST_HOC` with the encoder and input of the model. From a black box of this library, the
        recipe also takes the dilations, the teacher, and the data (except the batch size) and loss of its run; these
        are known if ``config.yaml`` is in the parent folder of the bundle.

    Raises:
        UserError: If there is no such model, or it has prototypes already.
    """
    recipe: dict[str, Any] = yaml.safe_load(POST_HOC.read_text(encoding="utf-8"))
    if name.startswith((TIMM, TORCHVISION, TRANSFORMERS)):
        return _over_encoder(recipe, name)
    return _over_bundle(recipe, name)


def _over_encoder(recipe: dict[str, Any], name: str) -> dict[str, Any]:
    """Fill in the encoder of another library, without distillation: there are no logits of a teacher."""
    encoder = name.removeprefix(TIMM)
    recipe["network"]["encoder"] = {"name": encoder, "pretrained": True}
    if name.startswith(TRANSFORMERS):
        recipe["network"]["input"] = normalization_of(name)
    elif name.startswith(TIMM) and (known := timm.get_pretrained_cfg(encoder)):
        recipe["network"]["input"] = {"mean": list(known.mean), "std": list(known.std)}
    for phase in recipe["phases"].values():
        phase.pop("distillation", None)
    return recipe


def _over_bundle(recipe: dict[str, Any], name: str) -> dict[str, Any]:
    """Fill in a black box of this library, and the data and loss of its run."""
    black_box = load(name)
    if black_box.prototypes is not None:
        raise UserError(f"{name}: has prototypes already; give a model without, such as one trained with deeplabv2")
    config = asdict(black_box.config)
    recipe["network"] |= {"encoder": config["encoder"], "input": config["input"]}
    recipe["network"]["pyramid"] = {"dilations": config["pyramid"]["dilations"]}
    recipe["warm_start"] = name
    run = Path(name).parent / "config.yaml"
    if Path(name).is_dir() and run.is_file():
        values = yaml.safe_load(run.read_text(encoding="utf-8"))
        if isinstance(values, dict):
            recipe |= {key: values[key] | recipe.get(key, {}) for key in ("data", "loss") if key in values}
    return recipe
