"""A new head, phase or score is one file and one line in a table; see CONTRIBUTING."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.builders.images import write_folder

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "tests" / "fixtures" / "before" / "model"


class Home(NamedTuple):
    """A folder, and the exit code and output of the commands that were run in it."""

    path: Path
    done: dict[str, dict[str, Any]]


def write_recipe(path: Path, data: Path, **phases: dict) -> Path:
    values = {
        "method": "toy",
        "data": {"name": str(data), "crop": [32, 40], "batch_size": 2, "accumulate": 1},
        "network": {
            "encoder": {"name": "regnetx_002", "stage": 2},
            "pyramid": {"dilations": [1, 2], "channels": 8},
            "head": {"kind": "hidden-layer"},
        },
        "phases": {
            "fit": {"steps": 1, "learning_rates": {"encoder": 0.001, "pyramid": 0.001, "classifier": 0.01}},
            **phases,
        },
    }
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    """All commands of this file, in one process, because a process takes seconds to import its libraries."""
    home = tmp_path_factory.mktemp("home")
    data = write_folder(home / "data")

    def train(name: str, *arguments: str, **phases: dict) -> list[str | Path]:
        path = write_recipe(home / f"{name}.yaml", data, **phases)
        return ["train", "--config", path, "--out", home / name, *arguments]

    evaluate = ["evaluate", MODEL, "--data", data, "--scores", "all", "--out", home / "metrics.json"]
    commands = {
        "alone": train("alone"),
        "scaled": train("scaled", "--phases.scaling.factor", "0.25", scaling={"do": "scale-head"}),
        "evaluate-head": ["evaluate", home / "scaled" / "model", "--data", data],
        "unknown-key": train("unknown", scaling={"do": "scale-head", "factors": 2}),
        "wrong-value": train("wrong", scaling={"do": "scale-head", "factor": -1}),
        "help": ["train", "--phases.help", "ScaleHead"],
        "evaluate-score": evaluate,
    }
    process = subprocess.run(
        [sys.executable, "-m", "tests.extensions.command_line"],
        input=json.dumps(commands, default=str), cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    return Home(home, json.loads(process.stdout))


def test_a_head_and_a_phase_train_through_the_command_line(home):
    for name in ("alone", "scaled", "evaluate-head"):
        assert home.done[name]["code"] == 0, home.done[name]["err"]
    scaled, before = (load_file(home.path / name / "model" / "model.safetensors") for name in ("scaled", "alone"))
    head = [name for name in before if name.startswith("head.")]
    assert len(head) == 4
    for name in before:
        assert torch.equal(scaled[name], before[name] * (0.25 if name in head else 1)), name


def test_a_phase_has_its_own_keys_help_and_errors(home):
    unknown, wrong = home.done["unknown-key"], home.done["wrong-value"]
    assert unknown["code"] and wrong["code"]
    assert unknown["err"].endswith("phases.scaling: 'do: scale-head' has no key 'factors'; did you mean factor?\n")
    assert wrong["err"] == "error: phases.scaling: factor is -1.0; give more than 0\n"
    assert "--phases.factor" in home.done["help"]["out"]


def test_a_score_stands_in_the_metrics(home):
    assert home.done["evaluate-score"]["code"] == 0, home.done["evaluate-score"]["err"]
    faithfulness = json.loads((home.path / "metrics.json").read_text())["faithfulness"]
    assert sum(faithfulness["prototypes_per_scale"]) == 12
    assert list(faithfulness)[-1] == "prototypes_per_scale"
