"""Recipes that explain a trained model (post hoc), with its encoder frozen."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import timm
import yaml

from scaleprotoseg.errors import UserError
from scaleprotoseg.formats.black_boxes import describe, is_foreign, load_model, without_file
from scaleprotoseg.model.encoders.classifier_input import NoClassifierError
from scaleprotoseg.model.network import Network

log = logging.getLogger(__name__)

POST_HOC = Path(__file__).with_name("post_hoc.yaml")
"""File of the recipe, without the keys that depend on the black box."""

TIMM = "timm/"
"""Prefix of timm models, whose encoder is explained."""

PROTOTYPES = 6
"""Number of prototypes per class over the features that a classifier reads."""


def recipe_over(name: str) -> dict[str, Any]:
    """Build the recipe that explains a trained model.

    Args:
        name: A black box, see :func:`~scaleprotoseg.formats.black_boxes.load_model`; or ``timm/`` and the name of a
            model, which has no class scores.

    Returns:
        The values of :data:`POST_HOC` with the encoder and input of the model, and with the model as the teacher. From
        a black box of this library, the recipe also takes the dilations, and the data (except the batch size) and loss
        of its run; these are known if ``config.yaml`` is in the parent folder of the bundle.

    Raises:
        UserError: If there is no such model, or it has prototypes already.
    """
    recipe: dict[str, Any] = yaml.safe_load(POST_HOC.read_text(encoding="utf-8"))
    if name.startswith(TIMM):
        return _over_encoder(recipe, name)
    try:
        return _over_black_box(recipe, name)
    except NoClassifierError as error:
        log.warning("%s; only its encoder is used", error)
        return _over_encoder(recipe, name)


def _over_encoder(recipe: dict[str, Any], name: str) -> dict[str, Any]:
    """Fill in an encoder without distillation: there are no logits of a teacher."""
    encoder, file = without_file(name.removeprefix(TIMM))
    recipe["network"]["encoder"] = {"name": encoder} | ({"weights": file} if file else {"pretrained": True})
    if is_foreign(name):
        recipe["network"]["input"] = asdict(describe(encoder).input)
    elif known := timm.get_pretrained_cfg(encoder):
        recipe["network"]["input"] = {"mean": list(known.mean), "std": list(known.std)}
    recipe["data"]["name"] = None
    for phase in recipe["phases"].values():
        phase.pop("distillation", None)
    return recipe


def _over_black_box(recipe: dict[str, Any], name: str) -> dict[str, Any]:
    """Fill in a black box, and the data and loss of its run."""
    black_box = load_model(name)
    if black_box.prototypes is not None:
        raise UserError(f"{name}: has prototypes already; give a model without, such as one trained with deeplabv2")
    config = asdict(black_box.config)
    recipe["network"] |= {"encoder": config["encoder"], "input": config["input"]}
    recipe["warm_start"] = name
    if is_foreign(name):
        return _over_classifier(recipe, black_box)
    recipe["network"]["pyramid"] = {"dilations": config["pyramid"]["dilations"]}
    run = Path(name).parent / "config.yaml"
    values = yaml.safe_load(run.read_text(encoding="utf-8")) if Path(name).is_dir() and run.is_file() else {}
    values = values if isinstance(values, dict) else {}
    recipe["loss"] = values.get("loss", recipe["loss"])
    recipe["data"] = values.get("data", {"name": None}) | recipe["data"]
    return recipe


def _over_classifier(recipe: dict[str, Any], black_box: Network) -> dict[str, Any]:
    """Fill in the scale and the data for prototypes over the features that a classifier reads.

    These features have all the context that the black box needs, so that one scale without neighboring cells is enough.
    """
    recipe["network"] |= {"pyramid": {"dilations": [0]}, "head": {"prototypes": PROTOTYPES}}
    recipe["data"] |= {"name": None, "scale": [1.0, 1.0]}
    if pad := black_box.config.encoder.pad:
        recipe["data"]["crop"] = [pad, pad]
    return recipe
