"""Several processes give the losses, prototypes and scores of one process."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from scaleprotoseg import distributed
from scaleprotoseg.errors import UserError
from tests.builders.images import write_folder
from tests.builders.recipes import recipe_values

PYTHON = sys.executable


def command(*arguments: str | Path, several: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    words = [PYTHON, *several, "-m", "scaleprotoseg", *map(str, arguments)]
    return subprocess.run(
        words, capture_output=True, text=True, timeout=400, check=False, env=environment | {"OMP_NUM_THREADS": "1"}
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Runs with several kinds of phases, in one process and in two."""
    home = tmp_path_factory.mktemp("home")
    recipe = recipe_values()
    recipe["data"] |= {"name": str(write_folder(home / "data", 11)), "batch_size": 4}
    recipe["network"]["input"] = {"scales": [0.5]}
    recipe["loss"] = {"class_balance": 0.5}
    recipe["precision"] = "32"  # bfloat16 rounds half a batch differently from a whole one.
    fine_tune = recipe["phases"]["fine-tune"]
    phases = {"joint": recipe["phases"]["joint"] | {"steps": 50, "encoder_norm": "frozen"}}
    phases |= {"projection": {"do": "project"}, "neighbours": {"do": "prune-by-neighbours", "agreeing": 1}}
    phases |= {"fine-tune": fine_tune, **{name: recipe["phases"][name] for name in ("grouping", "groups", "pruning")}}
    (home / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"phases": phases}, sort_keys=False))
    for name, several in (("one", ()), ("two", ("--devices", "2"))):
        done = command("train", "--config", home / "recipe.yaml", "--out", home / name, *several)
        assert done.returncode == 0, done.stderr
    return home


def losses(run: Path, phase: str) -> np.ndarray:
    with (run / "logs" / phase / "metrics.csv").open() as file:
        return np.array([float(row["loss"]) for row in csv.DictReader(file) if row["loss"]])


@pytest.mark.parametrize(("phase", "steps"), [("00-joint", 50), ("03-fine-tune", 4), ("05-groups", 20)])
def test_the_loss_curve_is_the_same(home, phase, steps):
    one, two = losses(home / "one", phase), losses(home / "two", phase)
    assert len(one) >= steps // 2
    np.testing.assert_allclose(two, one, rtol=1e-4)


def test_the_same_prototypes_are_chosen(home):
    one, two = (json.loads((home / run / "model" / "prototypes.json").read_text()) for run in ("one", "two"))
    for entry in one + two:
        assert entry["source"].pop("distance") >= 0  # the only number that rounding changes
    assert one == two and len(one) > 3


def test_the_scores_are_the_same(home):
    one, two = (json.loads((home / run / "logs" / "phases.json").read_text()) for run in ("one", "two"))
    for phase, scores in one.items():
        assert scores["iou"] == pytest.approx(two[phase]["iou"], abs=1e-3), phase


def test_evaluation_counts_every_image_once(home, tmp_path):
    out = tmp_path / "two.json"
    done = command("evaluate", home / "one" / "model", "--data", home / "data", "--out", out, "--devices", "2")
    assert done.returncode == 0, done.stderr
    two, one = (json.loads(path.read_text()) for path in (out, home / "one" / "metrics.json"))
    assert two == one | {"seed": None}


def test_torchrun_starts_the_processes_as_well(home):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = command("train", "--config", home / "recipe.yaml", "--out", home / "torchrun", several=launcher)
    assert done.returncode == 0, done.stderr
    two, other = ((home / run / "metrics.json").read_text() for run in ("two", "torchrun"))
    assert two == other


def test_a_mistake_is_told_once_and_ends_all(home):
    arguments = ("--config", home / "recipe.yaml", "--devices", "2", "--out", home / "uneven")
    done = command("train", *arguments, "--data.batch_size", "3")
    assert done.returncode == 1 and "cannot be split among 2 devices" in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_several_machines_need_an_address(monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(UserError, match="MASTER_ADDR"):
        distributed.in_processes(print, [], devices=1, nodes=2)


def end_by_signal(arguments):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_told(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="process 0 was ended by SIGKILL; if memory ran out"):
        distributed.in_processes(end_by_signal, [], devices=1, nodes=1)


def test_alone_nothing_is_shared():
    assert distributed.shard(5) == range(5) and distributed.is_main()
    assert distributed.gather("mine") == ["mine"]
    assert distributed.average(torch.tensor(3.0)) == 3
    distributed.broadcast([torch.tensor(3.0)])


@pytest.mark.parametrize(("count", "processes"), [(0, 2), (1, 2), (5, 2), (7, 3), (2, 4)])
def test_shares_are_all_items_in_order(count, processes, monkeypatch):
    items: list[int] = []
    monkeypatch.setattr(distributed, "world_size", lambda: processes)
    for rank in range(processes):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        items += distributed.shard(count)
    assert items == list(range(count))
