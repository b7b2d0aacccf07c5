"""Recipes that take seconds."""

from __future__ import annotations

from typing import Any

from scaleprotoseg.recipe_files import recipe_from
from scaleprotoseg.training.recipe import Recipe


def recipe_values(**changes: Any) -> dict[str, Any]:
    """A recipe with several kinds of phases and a few steps each, as plain values."""
    return {
        "method": "scaleprotoseg",
        "data": {"name": "toys", "crop": [32, 40], "scale": [0.8, 1.2], "batch_size": 2, "accumulate": 1},
        "network": {
            "encoder": {"name": "resnet10t", "stage": 2},
            "pyramid": {"dilations": [1, 2], "channels": 8},
            "head": {"prototypes": 2},
        },
        "phases": {
            "joint": {
                "steps": 20,
                "learning_rates": {"encoder": 0.001, "pyramid": 0.001, "prototypes": 0.01},
                "decay": "poly",
                "diversity": 0.25,
                "encoder_norm": "free",
            },
            "projection": {"do": "project"},
            "fine-tune": {"steps": 4, "learning_rates": {"classifier": 0.001}, "foreign_l1": 0.0001},
            "grouping": {"do": "group", "groups": 2},
            "groups": {
                "steps": 20,
                "learning_rates": {"groups": 0.01, "classifier": 0.01},
                "group_entropy": 0.05,
                "foreign_l1": 0.0001,
            },
            "pruning": {"do": "prune"},
        },
        **changes,
    }


def make_recipe(**changes: Any) -> Recipe:
    """The same recipe, typed and checked."""
    return recipe_from(recipe_values(**changes))
