"""Recipes that cannot work are refused when they are read."""

from __future__ import annotations

import math
import re
from dataclasses import fields
from pathlib import Path

import pytest

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, InputConfig, PyramidConfig
from scaleprotoseg.training.config import DataConfig, LossConfig, StoreConfig
from scaleprotoseg.training.recipe import KINDS, Recipe
from tests.builders.recipes import make_recipe

FIT = {"steps": 3, "learning_rates": {"encoder": 0.001}}
PROJECT, GROUP = {"do": "project"}, {"do": "group"}

REFUSED = {
    "negative seed": ({"seed": -1}, "seed is -1"),
    "no phases": ({"phases": {}}, "phases is empty"),
    "no steps": ({"phases": {"a": {**FIT, "steps": 0}}}, "phases.a.steps is 0"),
    "negative rate": ({"phases": {"a": {"steps": 3, "learning_rates": {"encoder": -1.0}}}}, "learning rate of encoder"),
    "frozen random encoder": ({"phases": {"a": {"steps": 3, "learning_rates": {"pyramid": 0.1}}}}, "random weights"),
    "entropy without groups": ({"phases": {"a": {**FIT, "group_entropy": 0.1}}}, "the head has no groups yet"),
    "pyramid after projection": (
        {"phases": {"a": FIT, "b": PROJECT, "c": {"steps": 3, "learning_rates": {"pyramid": 0.1}}}},
        "phases.c: training pyramid after projection",
    ),
    "prototypes with groups": (
        {"phases": {"a": FIT, "b": PROJECT, "c": GROUP, "d": {"steps": 3, "learning_rates": {"prototypes": 0.1}}}},
        "phases.d: training prototypes after projection",
    ),
    "consistency without noise": (
        {"phases": {"a": {**FIT, "invariance": 1.0}}},
        "phases.a: invariance and redundancy compare an image with its noisy copy",
    ),
    "frame without patches": (
        {"phases": {"a": FIT, "b": {"do": "frame"}}},
        "phases.b: a frame is measured around training patches",
    ),
    "shown for another pyramid": ({"network": {"pyramid": {"shown": [1]}}}, "network.pyramid.shown has 1 values"),
    "nothing to point with": (
        {"phases": {"a": FIT, "b": {**FIT, "learning_rates": {"classifier": 0.1}, "pointing": 1.0}}},
        "phases.b: pointing has no effect unless encoder, pyramid or prototypes are trained",
    ),
    "a teacher of nothing": (
        {"phases": {"a": FIT, "b": {**FIT, "teacher": "a"}}},
        "phases.b: has a teacher, but distillation is 0",
    ),
    "a teacher to come": (
        {"phases": {"a": {**FIT, "distillation": 1.0, "teacher": "b"}, "b": FIT}},
        "phases.a: its teacher 'b' is no earlier phase",
    ),
    "no teacher": (
        {"phases": {"a": {**FIT, "distillation": 1.0}}},
        "phases.a: distillation needs a teacher; name a model",
    ),
    "tied without patches": (
        {"phases": {"a": FIT, "b": {"steps": 3, "learning_rates": {"pyramid": 0.1}, "tied": True}}},
        "phases.b: tied prototypes follow their training patches",
    ),
    "tied to a moving encoder": (
        {"phases": {"a": FIT, "b": PROJECT, "c": {**FIT, "tied": True}}},
        "phases.c: tied prototypes follow their training patches",
    ),
    "negative views": ({"store": {"views": -1}}, "store is -1 views"),
    "no disk": ({"store": {"views": 1, "gib": 0.0}}, "views in 0.0 GiB"),
    "late projection": ({"phases": {"a": FIT, "b": GROUP, "c": PROJECT}}, "phases.c: cannot project after grouping"),
    "impossible agreement": (
        {"phases": {"a": FIT, "b": {"do": "prune-by-neighbours", "neighbours": 2}}},
        "3 of 2 neighbours cannot agree",
    ),
    "no fraction of images": (
        {"phases": {"a": FIT, "b": {"do": "prune-by-parts", "agreement": 1.0}}},
        "phases.b: agreement is 1.0, a fraction of images",
    ),
    "late pruning by neighbours": (
        {"phases": {"a": FIT, "b": GROUP, "c": {"do": "prune-by-neighbours"}}},
        "phases.c: cannot prune-by-neighbours after grouping",
    ),
    "early pruning": ({"phases": {"a": FIT, "b": {"do": "prune"}}}, "nothing to prune"),
    "a projection with steps": (
        {"phases": {"a": FIT, "b": {**PROJECT, "steps": 3}}},
        "phases.b: 'do: project' has no key 'steps'",
    ),
    "a fit with groups": ({"phases": {"a": {**FIT, "groups": 5}}}, "phases.a: 'do: fit' has no key 'groups'"),
    "parts for a projection": (
        {"phases": {"a": FIT, "b": {**PROJECT, "pointing": 1.0}}},
        "phases.b: 'do: project' has no key 'pointing'",
    ),
    "a negative loss": ({"phases": {"a": {**FIT, "diversity": -1.0}}}, "phases.a: diversity is -1.0"),
    "negative noise": ({"phases": {"a": {**FIT, "noise": -0.2}}}, "phases.a: noise is -0.2"),
    "no number": ({"phases": {"a": {**FIT, "pointing": math.nan}}}, "phases.a: pointing is nan"),
    "an endless rate": (
        {"phases": {"a": {"steps": 3, "learning_rates": {"encoder": math.inf}}}},
        "the learning rate of encoder is inf",
    ),
    "no weight": (
        {"phases": {"a": FIT, "b": PROJECT, "c": GROUP, "d": {"do": "prune", "threshold": 7.0}}},
        "phases.d: threshold is 7.0",
    ),
    "balance beyond classes": ({"loss": {"class_balance": -3.0}}, "loss.class_balance is -3.0"),
    "workers below none": ({"data": {"workers": -1}}, "data.workers is -1"),
    "endless crops": ({"data": {"scale": [0.5, math.inf]}}, "data.scale is [0.5, inf]"),
    "no dilations": ({"network": {"pyramid": {"dilations": []}}}, "dilations is empty"),
    "dilation -1": ({"network": {"pyramid": {"dilations": [1, -1]}}}, "network.pyramid.dilations is [1, -1]"),
    "no prototypes": ({"network": {"head": {"prototypes": 0}}}, "network.head.prototypes is 0"),
    "no pixels": ({"network": {"input": {"size": 0}}}, "network.input.size is 0"),
    "diversity of a black box": (
        {"network": {"head": {"kind": "direct"}}, "phases": {"a": {**FIT, "diversity": 0.25}}},
        "diversity does not apply, the head has no prototypes",
    ),
    "projection of a black box": (
        {"network": {"head": {"kind": "direct"}}, "phases": {"a": FIT, "b": PROJECT}},
        "cannot project, the head has no prototypes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused(name):
    changes, expected = REFUSED[name]
    with pytest.raises(UserError) as error:
        make_recipe(**changes)
    assert expected in str(error.value) and ";" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "config",
    [
        *(Recipe, DataConfig, LossConfig, StoreConfig, *KINDS.values()),
        *(EncoderConfig, PyramidConfig, HeadConfig, InputConfig),
    ],
)
def test_every_key_stands_in_the_documentation(config):
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", page))))
    assert {key.name for key in fields(config)} - {"network", "data"} <= words


def test_training_goes_on_between_two_projections():
    recipe = make_recipe(phases={"a": FIT, "b": PROJECT, "c": FIT, "d": PROJECT, "e": GROUP})
    assert list(recipe.phases) == list("abcde")
