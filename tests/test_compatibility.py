"""A bundle and a run folder written before the phases had keys of their own, with the numbers of that time.

``fixtures/before`` holds a finished bundle with what it computed for one image, and a run that was stopped within the
phase ``groups``, with the metrics that it ended with. On the machine that wrote them all numbers come out to the last
digit; other processors round differently, and a rounding may move single pixels and weights.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import scaleprotoseg as sps
from scaleprotoseg import cli
from tests.builders.images import toy_sample, write_folder

BEFORE = Path(__file__).parent / "fixtures" / "before"


@pytest.fixture
def stopped(tmp_path, monkeypatch) -> Path:
    """A copy of the stopped run beside its data."""
    write_folder(tmp_path / "data")
    shutil.copytree(BEFORE / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def test_the_bundle_computes_what_it_did():
    model = sps.load(BEFORE / "model")
    image = toy_sample(3).image
    with torch.no_grad():
        output = model(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255)
    for name, expected in load_file(BEFORE / "output.safetensors").items():
        torch.testing.assert_close(getattr(output, name), expected, rtol=1e-4, atol=1e-5)
    why, expected = model.explain(image).at(20, 20), json.loads((BEFORE / "why.json").read_text())
    assert why.class_name == expected["class_name"]
    assert why.logit == pytest.approx(expected["logit"], rel=1e-4, abs=1e-5)
    assert [group.contribution for group in why.groups] == pytest.approx(expected["contributions"], rel=1e-4, abs=1e-5)


def test_the_stopped_run_ends_as_it_did(stopped):
    cli.main(["train", "--config", "run/config.yaml", "--out", "run", "--resume"])
    metrics, expected = (json.loads(path.read_text()) for path in (stopped / "metrics.json", BEFORE / "metrics.json"))
    assert expected.keys() <= metrics.keys() and metrics["black_box"] is None
    for name in ("method", "data", "split", "num_images", "seed"):
        assert metrics[name] == expected[name], name
    assert metrics["miou"] == pytest.approx(expected["miou"], abs=0.01)
    assert metrics["sparsity"]["prototypes_total"] == expected["sparsity"]["prototypes_total"]
    ours, before = (load_file(folder / "model.safetensors") for folder in (stopped / "model", BEFORE / "model"))
    assert ours.keys() == before.keys()
    for name, values in before.items():
        torch.testing.assert_close(ours[name], values, rtol=1e-2, atol=1e-3)
    now, then = (json.loads((folder / "model" / "config.json").read_text()) for folder in (stopped, BEFORE))
    new_keys = {key: now["network"]["encoder"].pop(key) for key in ("weights", "pad", "aligned")}
    assert now == then and new_keys == {"weights": None, "pad": 0, "aligned": None}


def test_the_old_recipe_is_the_same_recipe_without_the_keys_of_other_phases(stopped, capsys):
    old = yaml.safe_load((stopped / "config.yaml").read_text())
    assert "threshold" in old["phases"]["projection"]
    recipe = {**old, "phases": {name: dict(phase) for name, phase in old["phases"].items()}}
    recipe["phases"]["projection"] = {"do": "project"}
    (stopped.parent / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    with pytest.raises(SystemExit):
        cli.main(["train", "--config", "recipe.yaml", "--seed", "3", "--out", "run", "--resume"])
    assert "was begun with other values of seed;" in capsys.readouterr().err
    recipe["phases"]["projection"]["threshold"] = 0.3  # Not the default: someone believes that it does something.
    (stopped.parent / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    with pytest.raises(SystemExit):
        cli.main(["train", "--config", "recipe.yaml", "--out", "run", "--resume"])
    assert "phases.projection: 'do: project' has no key 'threshold'; it has no keys" in capsys.readouterr().err
