"""The public API as a user meets it: load, predict, explain, save; and the README's example as it stands there."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import scaleprotoseg as sps
from scaleprotoseg import cli
from scaleprotoseg.formats.bundle import save
from scaleprotoseg.inference.prediction import class_map, logits_of
from tests.builders.images import LABELS, toy_sample, write_folder
from tests.builders.networks import black_box, projected_network

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a bundle, a black box and an image."""
    home = tmp_path_factory.mktemp("home")
    save(projected_network(), home / "model")
    save(black_box(), home / "box")
    toy_sample(1).image.save(home / "image.png")
    return home


@pytest.fixture(scope="module")
def model(folder) -> sps.SegmentationModel:
    return sps.load(folder / "model")


def test_every_public_name_is_there():
    assert {*sps.__all__, "__version__"} == set(dir(sps))
    for name in sps.__all__:
        assert getattr(sps, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = sps.nothing


def test_images_of_all_kinds_are_predicted_alike(model, folder):
    image = Image.open(folder / "image.png")
    expected = class_map(logits_of(model, image), *image.size)
    for given in (folder / "image.png", str(folder / "image.png"), image, np.asarray(image)):
        classes = model.predict(given)
        assert classes.shape == (image.height, image.width) and classes.dtype == np.uint8
        assert np.array_equal(classes, expected)


def test_probabilities_belong_to_the_classes(model, folder):
    classes, probabilities = model.predict(folder / "image.png", return_probabilities=True)
    assert probabilities.shape == (len(LABELS), *classes.shape)
    assert np.allclose(probabilities.sum(axis=0), 1, atol=1e-6)
    assert np.array_equal(probabilities.argmax(axis=0), classes)


def test_a_black_box_predicts_and_says_why_it_does_not_explain(folder):
    box = sps.load(folder / "box")
    assert box.predict(folder / "image.png").shape == (40, 48)
    with pytest.raises(sps.UserError, match="has no prototypes, so there is nothing to explain; use a model"):
        box.explain(folder / "image.png")


def test_an_explanation_is_saved_and_shows_itself(model, folder, tmp_path):
    explanation = model.explain(str(folder / "image.png"))
    explanation.save(str(tmp_path / "why.html"))
    assert "image.png" in (tmp_path / "why.html").read_text()
    assert explanation._repr_html_().count("<img") == 1
    why = explanation.at(20, 10)
    assert sum(group.contribution for group in why.groups) == pytest.approx(why.logit)
    assert np.array_equal(explanation.prediction, model.predict(folder / "image.png"))


MISTAKES = {
    "no such model": (lambda model: sps.load("no/model"), "no/model: no such folder"),
    "a model that is a number": (lambda model: sps.load(3), "type int; give the path of a model folder"),
    "no such image": (lambda model: model.predict("none.png"), "none.png: no such file"),
    "an image that is nothing": (lambda model: model.predict(None), "NoneType"),
    "a tensor": (lambda model: model.predict(torch.zeros(3, 8, 8)), "Tensor"),
    "an image for a batch": (lambda model: model("image.png"), r"expected a tensor of shape \(B, 3, H, W\), got str"),
    "no batch": (lambda model: model(torch.zeros(3, 8, 8)), r"got \(3, 8, 8\); stack images"),
    "half a pixel": (lambda model: model.explain(toy_sample(0).image).at(1.5, 2), "whole numbers"),
    "outside": (lambda model: model.explain(toy_sample(0).image).at(48, 0), "outside"),
    "unknown class": (
        lambda model: model.explain(toy_sample(0).image).at(1, 1, "cat"),
        "class 'cat': is unknown; choose",
    ),
    "a class that is a number": (
        lambda model: model.explain(toy_sample(0).image).at(1, 1, 2),
        "of type int, not a string; choose",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_one_line(name, model):
    mistake, expected = MISTAKES[name]
    with pytest.raises(sps.UserError, match=expected) as error:
        mistake(model)
    assert ";" in str(error.value) and "\n" not in str(error.value)


def test_representations_are_short(model, folder):
    explanation = model.explain(folder / "image.png")
    dataset = sps.open_dataset(write_folder(folder / "data"), "train")
    why = explanation.at(3, 3)
    for thing in (model, explanation, dataset, sps.LabelTable.from_json({"classes": ["a", "b"]}), why.groups[0]):
        assert len(repr(thing)) < 250 and "\n" not in repr(thing), repr(thing)
    assert len(str(why).splitlines()) <= 12


def test_a_saved_model_is_the_same_model_with_a_card(model, tmp_path):
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "old.txt").write_text("old")
    model.save_pretrained(tmp_path / "copy")
    again = sps.SegmentationModel.from_pretrained(str(tmp_path / "copy"))
    assert not (tmp_path / "copy" / "old.txt").exists()
    assert again.config == model.config and again.sources == model.sources and not again.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    card = (tmp_path / "copy" / "README.md").read_text()
    assert "library_name: scaleprotoseg" in card and "pipeline_tag: image-segmentation" in card
    assert "| classes | ground, disc, bar |" in card
    assert isinstance(copy.deepcopy(model), sps.SegmentationModel)


def test_metrics_are_typed_and_come_back_from_json(model, tmp_path):
    dataset = sps.open_dataset(str(write_folder(tmp_path / "data")), "val")
    metrics = sps.measure(model, dataset)
    assert isinstance(metrics, sps.Metrics) and metrics.num_images == 2 and 0 <= metrics.miou <= 1
    assert sps.Metrics.from_dict(metrics.to_dict()) == metrics
    assert list(metrics.to_dict())[:6] == ["method", "data", "split", "num_images", "miou", "pixel_accuracy"]


def test_roots_are_given_as_text(tmp_path):
    with pytest.raises(sps.UserError, match=r"trainannot: no such folder|train: no such folder"):
        sps.open_dataset("camvid", "train", root=str(tmp_path))


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out == f"scaleprotoseg {sps.__version__}\n"


def test_the_example_of_the_readme_runs_as_it_stands(folder, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        code = block.replace("runs/demo/model", str(folder / "model")).replace("street.jpg", str(folder / "image.png"))
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert re.search("ground|disc|bar", done.stdout)
