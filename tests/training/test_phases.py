"""Phases: every kind has its own typed keys, and a curriculum may begin with the black box."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from scaleprotoseg import load
from scaleprotoseg.errors import UserError
from scaleprotoseg.recipe_files import recipe_from
from scaleprotoseg.training.phases import PHASES
from scaleprotoseg.training.recipe import KINDS, Recipe
from tests.builders.command_line import run
from tests.builders.images import write_folder
from tests.builders.recipes import recipe_values

ROOT = Path(__file__).parents[2]


def from_black_box(**start) -> dict:
    """A recipe whose first phase trains a black box."""
    values = recipe_values()
    joint = values["phases"]["joint"] | {"diversity": 0.0, "learning_rates": {"encoder": 0.001, "pyramid": 0.001}}
    rates = {"pyramid": 0.01, "prototypes": 0.01}
    taught = {"steps": 20, "learning_rates": rates, "distillation": 1.0, "teacher": "black-box", "diversity": 0.25}
    later = {name: phase for name, phase in values["phases"].items() if name not in ("joint", "fine-tune")}
    values["network"]["head"] = {"kind": "direct"}
    start = {"do": "add-prototypes", "prototypes": 2, "channels": 8, **start}
    return values | {"phases": {"black-box": joint, "start": start, "prototypes": taught, **later}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished run that began with a black box, beside its data."""
    home = tmp_path_factory.mktemp("home")
    values = from_black_box()
    values["data"]["name"] = str(write_folder(home / "data"))
    (home / "recipe.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    assert run("train", "--config", home / "recipe.yaml", "--out", home / "run") == 0
    return home


def test_black_box_and_explaining_model_are_one_run(finished):
    folder = finished / "run"
    phases = json.loads((folder / "logs" / "phases.json").read_text())
    metrics = json.loads((folder / "metrics.json").read_text())
    assert list(phases) == ["black-box", "prototypes", "projection", "grouping", "groups", "pruning"]
    box = phases["black-box"]
    assert box["sparsity"]["prototypes_total"] is None and box["black_box"] is None
    assert metrics["black_box"] == {
        "phase": "black-box",
        **{name: box[name] for name in ("miou", "pixel_accuracy", "iou")},
    }
    report = (folder / "report.html").read_text()
    assert re.search(r"black box", report) and f"{100 * box['miou']:.1f}" in report
    model = load(folder / "model")
    assert model.config.head.kind == "prototypes" and model.config.pyramid.channels == 8
    assert all(model.sources) and model.explain(finished / "data" / "images" / "toy-0.png").at(3, 3).groups
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["06"]


def test_the_encoder_of_the_black_box_stays(finished, tmp_path):
    values = yaml.safe_load((finished / "recipe.yaml").read_text())
    values["phases"] = {name: values["phases"][name] for name in ("black-box",)}
    (tmp_path / "box.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    assert run("train", "--config", tmp_path / "box.yaml", "--out", tmp_path / "box") == 0
    box, model = load(tmp_path / "box" / "model"), load(finished / "run" / "model")
    for name, value in box.encoder.state_dict().items():
        assert torch.equal(value, model.encoder.state_dict()[name]), name


def test_a_killed_run_from_a_black_box_is_resumed(finished, tmp_path):
    """The teacher is still there when the process is killed while its student is trained."""
    code = (
        "import os, sys\n"
        "import scaleprotoseg.training.fit_module as module\n"
        "step = module.FitModule.training_step\n"
        "def killed(self, batch, index):\n"
        "    if self.settings.teacher and self.global_step == 9: os._exit(9)\n"
        "    return step(self, batch, index)\n"
        "module.FitModule.training_step = killed\n"
        "from scaleprotoseg.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    arguments = ["train", "--config", str(finished / "recipe.yaml"), "--out", str(tmp_path / "run")]
    assert subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=False).returncode == 9
    assert run(*arguments, "--resume") == 0
    uncut, resumed = (load(home / "run" / "model").state_dict() for home in (finished, tmp_path))
    for name, value in uncut.items():
        assert torch.equal(value, resumed[name]), name


REFUSED = {
    "prototypes twice": (from_black_box() | {"network": recipe_values()["network"]}, "has prototypes already"),
    "no prototypes": (from_black_box(prototypes=0), "phases.start.prototypes is 0"),
    "no channels": (from_black_box(channels=0), "phases.start.channels is 0"),
    "unknown kind": ({"phases": {"a": {"do": "projct"}}}, "phases.a: 'do: projct' is unknown; choose one of fit,"),
    "no keys": ({"phases": {"a": 3}}, "phases.a: is 3; give keys"),
    "key of another kind": ({"phases": {"a": {"do": "project", "steps": 3}}}, "'do: project' has no key 'steps'"),
    "wrong type": ({"phases": {"a": {"do": "prune", "threshold": "lots"}}}, "Expected a <class 'float'>"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_in_one_line(name):
    changes, expected = REFUSED[name]
    with pytest.raises(UserError) as error:
        recipe_from(recipe_values(**changes))
    assert expected in str(error.value) and ";" in str(error.value) and "\n" not in str(error.value)


def test_projection_needs_prototypes_that_a_phase_has_added():
    values = from_black_box()
    values["phases"] = {name: phase for name, phase in values["phases"].items() if name not in ("start", "prototypes")}
    with pytest.raises(UserError, match=r"phases\.projection: cannot project, the head has no prototypes"):
        recipe_from(values)


def test_kinds_stand_under_their_own_name():
    assert list(KINDS) == list(PHASES)
    for do, kind in KINDS.items():
        assert kind().do == do


@pytest.mark.parametrize("kind", [Recipe, *KINDS.values()])
def test_every_key_has_a_type_that_is_checked(kind):
    """Where a type cannot be looked up, jsonargparse accepts anything."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    assert {key.name for key in fields(kind)} <= {action.dest.split(".")[0] for action in parser._actions}
    assert not [action.dest for action in parser._actions if "Unvalidated" in str(getattr(action, "_typehint", ""))]


def test_the_tables_of_the_documentation_are_those_of_the_code():
    code = "import tables; page = tables.PAGE.read_text(encoding='utf-8'); assert tables.with_tables(page) == page"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "docs", check=True)
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert all(f"| `{do}` |" in page for do in KINDS)
