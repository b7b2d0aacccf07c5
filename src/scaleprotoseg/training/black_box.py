"""Recipes over a trained black box, which becomes self-explaining while its encoder stays as it is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.bundle import load

POST_HOC = Path(__file__).with_name("post_hoc.yaml")
"""What is trained over a black box: a recipe but for what follows from it."""


def recipe_over(name: str) -> dict[str, Any]:
    """The values of a recipe that explains a black box after the fact.

    Args:
        name: The black box: a bundle's folder or Hub id.

    Returns:
        The recipe of :data:`POST_HOC` with the black box's encoder, input and dilations; with the data and the loss
        of its run as well, if ``config.yaml`` lies beside the bundle's folder.

    Raises:
        UserError: If it is no bundle, or has prototypes already.
    """
    box = load(name)
    if box.prototypes is not None:
        raise UserError(f"{name}: has prototypes already; give a model without, such as one trained with deeplabv2")
    recipe: dict[str, Any] = yaml.safe_load(POST_HOC.read_text(encoding="utf-8"))
    config = asdict(box.config)
    recipe["network"] |= {"encoder": config["encoder"], "input": config["input"]}
    recipe["network"]["pyramid"] = {"dilations": config["pyramid"]["dilations"]}
    recipe["warm_start"] = name
    run = Path(name).parent / "config.yaml"
    if Path(name).is_dir() and run.is_file():
        values = yaml.safe_load(run.read_text(encoding="utf-8"))
        recipe |= {key: values[key] for key in ("data", "loss") if isinstance(values, dict) and key in values}
    return recipe
