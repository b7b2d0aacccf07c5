"""The command line on small data: whole runs, and mistakes that end in one line."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from scaleprotoseg import load
from scaleprotoseg.recipe_files import RECIPES, read_recipe, recipe_names
from tests.builders.command_line import run
from tests.builders.images import write_folder
from tests.builders.recipes import recipe_values

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder with data/, recipe.yaml and the finished runs ours/ and box/."""
    home = tmp_path_factory.mktemp("home")
    data = write_folder(home / "data")
    recipe = recipe_values()
    recipe["data"]["name"] = str(data)
    (home / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    box = {**recipe, "method": "deeplabv2", "phases": {"fit": {**recipe["phases"]["joint"], "diversity": 0.0}}}
    box["phases"]["fit"]["learning_rates"] = {"encoder": 0.001, "pyramid": 0.001}
    box["network"] = {**recipe["network"], "head": {"kind": "direct"}}
    (home / "box.yaml").write_text(yaml.safe_dump(box, sort_keys=False))
    assert run("train", "--config", home / "recipe.yaml", "--out", home / "ours") == 0
    assert run("train", "--config", home / "box.yaml", "--out", home / "box") == 0
    return home


def test_a_black_box_explains_itself_after_the_fact(finished):
    short = [f"--phases.{phase}.steps=4" for phase in ("prototypes", "groups", "fine-tune")]
    out = finished / "post-hoc"
    assert run("train", "--from", finished / "box" / "model", *short, "--out", out, "--store.views=2") == 0
    box, ours = (yaml.safe_load((finished / name / "config.yaml").read_text()) for name in ("box", "post-hoc"))
    assert ours["data"] == box["data"] | {"batch_size": 4, "accumulate": 1}
    assert ours["network"]["encoder"] == box["network"]["encoder"]
    assert ours["network"]["pyramid"]["dilations"] == box["network"]["pyramid"]["dilations"]
    model, black_box = (load(finished / name / "model") for name in ("post-hoc", "box"))
    for key, value in black_box.encoder.state_dict().items():
        assert torch.equal(value, model.encoder.state_dict()[key]), key
    assert all(model.sources) and model.method == "scaleprotoseg-post-hoc"
    assert {path.name for path in out.iterdir()} == {path.name for path in (finished / "ours").iterdir()}


def test_another_librarys_encoder_is_explained_over(finished, tmp_path):
    import torchvision

    weights = torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
    torch.save(weights.state_dict(), tmp_path / "trained.pth")
    arguments = [f"--phases.{phase}.steps=2" for phase in ("prototypes", "groups", "fine-tune")]
    arguments += ["--data.name", finished / "data", "--data.crop=[32,40]", "--data.batch_size=2", "--data.accumulate=1"]
    arguments += ["--store.views=1"]
    out, name = tmp_path / "run", f"torchvision/lraspp_mobilenet_v3_large:{tmp_path / 'trained.pth'}"
    assert run("train", "--from", name, *arguments, "--out", out) == 0
    model = load(out / "model")
    for name, values in weights.backbone.state_dict().items():
        assert torch.equal(model.encoder.net.backbone.state_dict()[name], values), name
    assert all(model.sources)


def test_only_a_black_box_can_be_explained_after_the_fact(finished, capsys):
    assert run("train", "--from", finished / "ours" / "model") == 1
    assert run("train", f"--from={finished / 'nothing'}") == 1
    assert run("train", "--from") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert "has prototypes already; give a model without" in lines[0] and "no such folder" in lines[1]
    assert lines[2] == "error: argument --config/--from: expected one argument"


def test_a_finished_run_holds_everything(finished):
    names = {path.name for path in (finished / "ours").iterdir()}
    assert names == {"config.yaml", "metrics.json", "report.html", "model", "logs", "checkpoints"}
    metrics = json.loads((finished / "ours" / "metrics.json").read_text())
    assert metrics["method"] == "scaleprotoseg" and metrics["num_images"] == 2 and metrics["seed"] == 0
    phases = json.loads((finished / "ours" / "logs" / "phases.json").read_text())
    assert list(phases) == list(recipe_values()["phases"])
    assert phases["pruning"] == metrics
    assert list((finished / "ours" / "logs").rglob("metrics.csv"))
    assert list((finished / "ours" / "logs").rglob("events.out.tfevents.*"))


def test_the_written_config_is_a_recipe(finished, tmp_path):
    config = finished / "ours" / "config.yaml"
    assert run("train", "--config", config, "--out", tmp_path / "again") == 0
    ours, again = (json.loads((run / "metrics.json").read_text()) for run in (finished / "ours", tmp_path / "again"))
    assert ours == again


def test_resuming_a_finished_run_changes_nothing(finished):
    before = (finished / "ours" / "metrics.json").read_text()
    assert run("train", "--config", finished / "recipe.yaml", "--out", finished / "ours", "--resume") == 0
    assert (finished / "ours" / "metrics.json").read_text() == before


def test_evaluate_equals_the_run(finished, tmp_path, capsys):
    out = tmp_path / "m.json"
    arguments = ["--data", finished / "data", "--split", "val", "--out", out]
    assert run("evaluate", finished / "ours" / "model", *arguments) == 0
    ours, run_metrics = json.loads(out.read_text()), json.loads((finished / "ours" / "metrics.json").read_text())
    assert ours["iou"] == run_metrics["iou"] and ours["seed"] is None
    printed = capsys.readouterr().out
    assert "mean IoU" in printed and "no prototypes" not in printed


def test_a_black_box_is_said_to_have_no_explanations(finished, capsys):
    assert run("evaluate", finished / "box" / "model", "--data", finished / "data", "--split", "val") == 0
    printed = capsys.readouterr().out
    assert "mean IoU" in printed and "the model has no prototypes: there are no explanations to measure" in printed


def test_predict_writes_masks_and_overlays_of_any_image(finished, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    Image.fromarray(rng.integers(0, 255, (33, 47), dtype=np.uint8)).save(tmp_path / "in" / "grey one.png")
    Image.fromarray(rng.integers(0, 255, (20, 64, 4), dtype=np.uint8)).save(tmp_path / "in" / "alpha&.png")
    Image.fromarray(rng.integers(0, 65535, (25, 31)).astype(np.uint16)).save(tmp_path / "sixteen.png")
    model = finished / "box" / "model"
    assert run("predict", model, tmp_path / "in", tmp_path / "sixteen.png", "--out", tmp_path / "out") == 0
    sizes = {"grey one": (47, 33), "alpha&": (64, 20), "sixteen": (31, 25)}
    for name, size in sizes.items():
        mask = Image.open(tmp_path / "out" / f"{name}.png")
        assert mask.mode == "P" and mask.size == size and np.array(mask).max() < 3
        assert Image.open(tmp_path / "out" / f"{name}_overlay.jpg").size == size
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_predict_never_overwrites_its_images(finished, tmp_path, capsys):
    image = tmp_path / "mine.png"
    Image.new("RGB", (40, 30), "red").save(image)
    before = image.read_bytes()
    assert run("predict", finished / "ours" / "model", tmp_path, "--out", tmp_path) == 1
    assert "the image mine in it would be overwritten" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"] and image.read_bytes() == before


def test_explain_and_report(finished, tmp_path):
    image = finished / "data" / "images" / "toy-1.png"
    model = finished / "ours" / "model"
    assert run("explain", model, image, "--out", tmp_path / "page.html") == 0
    assert "toy-1.png" in (tmp_path / "page.html").read_text()
    assert run("report", model, "--out", tmp_path / "bare.html") == 0
    assert run("report", model, "--data", finished / "data", "--out", tmp_path / "full.html") == 0
    assert (tmp_path / "full.html").stat().st_size > (tmp_path / "bare.html").stat().st_size
    assert run("report", finished / "box" / "model", "--out", tmp_path / "box.html") == 0


def test_figures(finished, tmp_path):
    arguments = [finished / "ours" / "model", "--data", finished / "data", "--image", "toy-6", "toy-7"]
    assert run("figures", *arguments, "--out", tmp_path / "figures") == 0
    stems = ("overlap", "scales", "groups-ground", "groups-disc", "groups-bar")
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("svg", "png")}
    assert re.search("toy-[67]: labeled pixels outlined", (tmp_path / "figures" / "groups-disc.svg").read_text())


def test_a_report_shows_no_other_models_metrics(finished, tmp_path):
    shutil.copytree(finished / "ours" / "model", tmp_path / "model")
    pages = []
    for metrics in (None, finished / "ours" / "metrics.json", finished / "box" / "metrics.json", finished / "box.yaml"):
        if metrics is not None:
            shutil.copy(metrics, tmp_path / "metrics.json")
        assert run("report", tmp_path / "model", "--out", tmp_path / "page.html") == 0
        pages.append((tmp_path / "page.html").read_text())
    without, own, boxs, broken = pages
    assert own != without and boxs == without and broken == without


def test_check_data(finished, tmp_path, capsys):
    assert run("check-data", "--data", finished / "data") == 0
    broken = write_folder(tmp_path / "broken")
    (broken / "masks" / "toy-0.png").unlink()
    (broken / "images" / "toy-1.png").write_bytes(b"no image")
    Image.new("L", (5, 5)).save(broken / "masks" / "toy-2.png")
    Image.new("L", (48, 40), 77).save(broken / "masks" / "toy-3.png")
    capsys.readouterr()
    assert run("check-data", "--data", broken) == 1
    printed = capsys.readouterr().out.replace("\n", "")
    for index in range(4):
        assert f"toy-{index}.png" in printed


MISTAKES = {
    "no such recipe": (["train", "--config", "camvit"], "did you mean camvid"),
    "no such recipe file": (["train", "--config", "{home}/none.yaml"], "no such recipe file"),
    "unknown key": (["train", "--config", "{home}/recipe.yaml", "--data.colour", "1"], "data.colour"),
    "unknown key in the file": (["train", "--config", "{home}/typo.yaml"], "steeps"),
    "not YAML": (["train", "--config", "{home}/broken.yaml"], "broken.yaml"),
    "bad value": (["train", "--config", "{home}/recipe.yaml", "--seed", "many"], "seed"),
    "impossible value": (["train", "--config", "{home}/recipe.yaml", "--data.batch_size", "0"], "data.batch_size is 0"),
    "untrainable component": (["train", "--config", "{home}/untrainable.yaml"], "cannot train 'groups'"),
    "no such encoder": (
        ["train", "--config", "{home}/recipe.yaml", "--network.encoder.name", "resnet9000", "--out", "{out}"],
        "timm cannot build 'resnet9000'",
    ),
    "no such data": (["train", "--config", "{home}/recipe.yaml", "--data.name", "camvit", "--out", "{out}"], "camvi"),
    "no root": (
        ["train", "--config", "camvid", "--out", "{out}"],
        "camvid: its folder is missing",
    ),
    "run exists": (["train", "--config", "{home}/recipe.yaml", "--out", "{home}/ours"], "add --resume"),
    "another run": (
        ["train", "--config", "{home}/recipe.yaml", "--seed", "9", "--out", "{home}/ours", "--resume"],
        "other values of seed",
    ),
    "not a run": (["train", "--config", "{home}/recipe.yaml", "--out", "{home}/data"], "holds no run"),
    "no bundle": (["evaluate", "{home}/data", "--data", "{home}/data"], "is not a model"),
    "impossible score": (
        ["evaluate", "{home}/ours/model", "--data", "{home}/data", "--part_scores.quantile", "1.5"],
        "part_scores.quantile is 1.5; give 0 <= quantile < 1",
    ),
    "a folder for a file": (
        ["evaluate", "{home}/ours/model", "--data", "{home}/data", "--out", "{home}/ours"],
        "is a folder; name a file",
    ),
    "a file for a folder": (
        ["figures", "{home}/ours/model", "--data", "{home}/data", "--out", "{home}/recipe.yaml"],
        "is a file; name a folder",
    ),
    "nothing to start from": (
        ["train", "--config", "{home}/recipe.yaml", "--warm_start", "no/model", "--out", "{out}"],
        "warm_start: no/model: no such folder",
    ),
    "no such split": (["evaluate", "{home}/ours/model", "--data", "{home}/data", "--split", "dev"], "dev"),
    "other classes": (["evaluate", "{home}/ours/model", "--data", "scenes", "--root", "{home}/scenes"], "classes"),
    "no image": (["explain", "{home}/ours/model", "{home}/none.png", "--out", "{out}"], "none.png"),
    "not an image": (["explain", "{home}/ours/model", "{home}/recipe.yaml", "--out", "{out}"], "recipe.yaml"),
    "black box": (["explain", "{home}/box/model", "{home}/data/images/toy-1.png", "--out", "{out}"], "no prototypes"),
    "figures of a black box": (
        ["figures", "{home}/box/model", "--data", "{home}/data", "--out", "{out}"],
        "no prototypes",
    ),
    "figures on no image": (
        ["figures", "{home}/ours/model", "--data", "{home}/data", "--image", "toy-66", "--out", "{out}"],
        "choose a name such as toy-6",
    ),
    "same name twice": (
        ["predict", "{home}/ours/model", "{home}/data/images", "{home}/data/masks", "--out", "{out}"],
        "different folders",
    ),
    "empty folder": (["predict", "{home}/ours/model", "{home}/ours", "--out", "{out}"], "contains no image"),
    "unwritable": (
        ["explain", "{home}/ours/model", "{home}/data/images/toy-1.png", "--out", "{home}/recipe.yaml/page.html"],
        "cannot be written",
    ),
    "no command": ([], "command"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_ends_in_one_line_and_leaves_nothing(finished, name, tmp_path, capsys, monkeypatch):
    arguments, expected = MISTAKES[name]
    recipe = recipe_values()
    recipe["data"]["name"] = str(finished / "data")
    typo = {**recipe, "phases": {"joint": {"steeps": 3}}}
    untrainable = {**recipe, "phases": {"joint": {"steps": 3, "learning_rates": {"groups": 0.1}}}}
    (finished / "typo.yaml").write_text(yaml.safe_dump(typo))
    (finished / "untrainable.yaml").write_text(yaml.safe_dump(untrainable))
    (finished / "broken.yaml").write_text("method: [")
    if name == "other classes":
        monkeypatch.setattr("scaleprotoseg.data.scenes.reader.SIZES", {"train": 1, "val": 1, "test": 1})
    out = tmp_path / "out"
    capsys.readouterr()
    code = run(*(str(argument).format(home=finished, out=out) for argument in arguments))
    printed = capsys.readouterr().err
    assert code != 0
    assert printed.startswith("error: ") and printed.count("\n") == 1
    assert expected in printed
    assert not out.exists()


def test_the_installed_command_prints_no_traceback():
    command = [
        sys.executable,
        "-c",
        "from scaleprotoseg.cli import main; main()",
        "explain",
        "/no/model",
        "a.png",
        "--out",
        "b",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "/no/model" in done.stderr


@pytest.mark.parametrize("name", recipe_names())
def test_packaged_recipes_are_valid_and_say_what_to_expect(name):
    recipe = read_recipe(["--config", name])
    assert recipe.phases and (name == "scenes/demo" or name.split("/")[-1].startswith(recipe.method))
    header = (RECIPES / f"{name}.yaml").read_text()
    for word in ("Hardware", "Duration", "Expect"):
        assert re.search(rf"^# {word}: .*[a-z]", header, re.MULTILINE), f"{name}: the header does not state {word}"


DOCUMENTS = [path for place in (".", "docs") for path in sorted((ROOT / place).glob("*.md"))]


@pytest.mark.parametrize("path", [*DOCUMENTS, *sorted(RECIPES.rglob("*.yaml"))], ids=str)
def test_the_trainings_that_documents_show_are_understood(path):
    for line in re.findall(r"^(?:#\s+|torchrun .* -m )?scaleprotoseg train (.*)$", path.read_text(), re.MULTILINE):
        words = shlex.split(line, comments=True)
        for option, values in {
            "--out": 1,
            "--devices": 1,
            "--resume": 0,
            "--print_config": 0,
            "--sanity_check": 0,
        }.items():
            if option in words:
                place = words.index(option)
                del words[place : place + 1 + values]
        if "--from" not in words:  # The rest of the recipe is known only after the black box was trained.
            assert read_recipe(words).phases
