"""Recipes over a trained model, which becomes self-explaining while its encoder stays as it is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import timm
import yaml

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.bundle import load
from scaleprotoseg.model.foreign import TORCHVISION, TRANSFORMERS, normalisation_of

POST_HOC = Path(__file__).with_name("post_hoc.yaml")
"""What is trained over a black box: a recipe but for what follows from it."""

TIMM = "timm/"
"""Before the name of a timm model whose encoder is to be explained."""


def recipe_over(name: str) -> dict[str, Any]:
    """The values of a recipe that explains a model after the fact.

    Args:
        name: A black box of ours, as a bundle's folder or Hub id; or a model with an encoder: ``timm/``,
            ``torchvision/`` or ``transformers/`` and its name there.

    Returns:
        The recipe of :data:`POST_HOC` with the model's encoder and input. Of a black box of ours also its dilations,
        the data (but for the size of batches) and the loss of its run, if ``config.yaml`` lies beside the bundle's
        folder, and its logits to learn from.

    Raises:
        UserError: If it is no bundle, or has prototypes already; or there is no such model.
    """
    recipe: dict[str, Any] = yaml.safe_load(POST_HOC.read_text(encoding="utf-8"))
    if name.startswith((TIMM, TORCHVISION, TRANSFORMERS)):
        encoder = name.removeprefix(TIMM)
        recipe["network"]["encoder"] = {"name": encoder, "pretrained": True}
        if name.startswith(TRANSFORMERS):
            recipe["network"]["input"] = normalisation_of(name)
        elif name.startswith(TIMM) and (known := timm.get_pretrained_cfg(encoder)):
            recipe["network"]["input"] = {"mean": list(known.mean), "std": list(known.std)}
        for phase in recipe["phases"].values():
            phase.pop("distillation", None)
        return recipe
    box = load(name)
    if box.prototypes is not None:
        raise UserError(f"{name}: has prototypes already; give a model without, such as one trained with deeplabv2")
    config = asdict(box.config)
    recipe["network"] |= {"encoder": config["encoder"], "input": config["input"]}
    recipe["network"]["pyramid"] = {"dilations": config["pyramid"]["dilations"]}
    recipe["warm_start"] = name
    run = Path(name).parent / "config.yaml"
    if Path(name).is_dir() and run.is_file():
        values = yaml.safe_load(run.read_text(encoding="utf-8"))
        if isinstance(values, dict):
            recipe |= {key: values[key] | recipe.get(key, {}) for key in ("data", "loss") if key in values}
    return recipe
