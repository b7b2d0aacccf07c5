"""A new head, phase or score is one file and one line in a table; see CONTRIBUTING."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file

from tests.builders.images import write_folder

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "tests" / "fixtures" / "before" / "model"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.extensions.command_line", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def recipe(folder: Path, **phases: dict) -> Path:
    values = {
        "method": "toy",
        "data": {"name": str(folder / "data"), "crop": [32, 40], "batch_size": 2, "accumulate": 1},
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
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def test_a_head_and_a_phase_train_through_the_command_line(tmp_path):
    write_folder(tmp_path / "data")
    whole = recipe(tmp_path, scaling={"do": "scale-head"})
    done = run("train", "--config", whole, "--phases.scaling.factor", "0.25", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    alone = run("train", "--config", recipe(tmp_path), "--out", tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    scaled, before = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("run", "alone"))
    head = [name for name in before if name.startswith("head.")]
    assert len(head) == 4
    for name in before:
        assert torch.equal(scaled[name], before[name] * (0.25 if name in head else 1)), name
    assert run("evaluate", tmp_path / "run" / "model", "--data", tmp_path / "data").returncode == 0


def test_a_phase_has_its_own_keys_help_and_errors(tmp_path):
    write_folder(tmp_path / "data")
    unknown = run("train", "--config", recipe(tmp_path, scaling={"do": "scale-head", "factors": 2}))
    assert unknown.stderr.endswith("phases.scaling: 'do: scale-head' has no key 'factors'; did you mean factor?\n")
    wrong = run("train", "--config", recipe(tmp_path, scaling={"do": "scale-head", "factor": -1}))
    assert wrong.stderr == "error: phases.scaling: factor is -1.0; give more than 0\n"
    assert "--phases.factor" in run("train", "--phases.help", "ScaleHead").stdout


def test_a_score_stands_in_the_metrics(tmp_path):
    write_folder(tmp_path / "data")
    arguments = ["--data", tmp_path / "data", "--scores", "all", "--out", tmp_path / "metrics.json"]
    done = run("evaluate", MODEL, *arguments)
    assert done.returncode == 0, done.stderr
    faithfulness = json.loads((tmp_path / "metrics.json").read_text())["faithfulness"]
    assert sum(faithfulness["prototypes_per_scale"]) == 12
    assert list(faithfulness)[-1] == "prototypes_per_scale"
