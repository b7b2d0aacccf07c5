"""All metrics of a model, as values, as JSON and as a table."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from scaleprotoseg.data.registry import READERS, Reader
from scaleprotoseg.evaluation.metrics import Metrics, measure
from scaleprotoseg.evaluation.sparsity import Sparsity
from scaleprotoseg.evaluation.tables import render
from tests.builders.images import LABELS, Toys
from tests.builders.networks import black_box, small_network


def test_metrics_have_the_documented_form():
    network = small_network(groups=2)
    found = measure(network, Toys(2), seed=3, scores="all")
    metrics = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert list(metrics) == [
        "method", "data", "split", "num_images", "miou", "pixel_accuracy", "iou", "protocols",
        "sparsity", "consistency", "stability", "parts", "overlap", "faithfulness", "black_box", "agreement", "seed",
        "versions",
    ]  # fmt: skip
    assert list(metrics["iou"]) == list(LABELS.names)
    assert metrics["seed"] == 3 and metrics["consistency"] is None
    assert metrics["sparsity"]["prototypes_total"] == 12
    native = {"input_size": None, "miou": metrics["miou"], "pixel_accuracy": metrics["pixel_accuracy"]}
    assert metrics["protocols"] == {"native": native, "paper": None}
    console = Console(record=True, width=100)
    render(found, console)
    text = console.export_text()
    assert f"{metrics['miou']:.3f}" in text
    assert metrics["parts"] is None and set(metrics["overlap"]) == {"within_scale", "across_scales", "groups"}
    assert list(metrics["overlap"]["groups"]) == ["0.8", "0.9", "0.95", "0.99"]
    shown = metrics["faithfulness"]
    assert shown["explained_variance"] == pytest.approx(1, abs=1e-6)
    assert shown["ablation"]["error"] < 1e-9 and shown["members"]["error"] < 1e-9
    assert f"{shown['misalignment']['overall']['inside']:.3f}" in text
    quick = measure(network, Toys(2), scores="segmentation")
    assert quick.miou == pytest.approx(found.miou) and quick.overlap is None


def test_a_black_box_has_nothing_to_explain():
    metrics = measure(black_box(), Toys(1), scores="all")
    assert metrics.consistency is metrics.overlap is metrics.faithfulness is None


@pytest.mark.parametrize("scores", ["segmentation", "all"])
def test_metrics_are_read_back(scores, monkeypatch):
    monkeypatch.setitem(READERS, "toys", Reader(lambda *_: Toys(), paper=True, paper_size=(24, 72)))
    box = measure(black_box(), Toys(1)).as_black_box("joint")
    metrics = replace(measure(small_network(groups=2), Toys(2), seed=3, scores=scores), black_box=box)
    for found in (metrics, replace(metrics, black_box=None)):
        again = Metrics.from_dict(json.loads(json.dumps(found.to_dict())))
        assert json.dumps(again.to_dict()) == json.dumps(found.to_dict())
        assert type(again.sparsity) is Sparsity and type(again.protocols) is type(found.protocols)
        assert again.black_box == found.black_box
    values = metrics.to_dict()
    del values["sparsity"]
    with pytest.raises(KeyError):
        Metrics.from_dict(values)


def test_the_papers_input_size_is_measured_beside_the_native_one(monkeypatch):
    network, reader = small_network(), Reader(lambda *_: Toys(), paper=True, paper_size=(24, 72))
    monkeypatch.setitem(READERS, "toys", reader)
    protocols = measure(network, Toys(3)).protocols
    assert protocols.paper.input_size == (24, 72)
    right = total = 0
    for index in range(3):
        sample = Toys(3)[index]
        small = np.array(sample.image.resize((72, 24), Image.Resampling.BILINEAR))
        logits = network(torch.from_numpy(small).permute(2, 0, 1)[None] / 255).logits
        guess = torch.nn.functional.interpolate(logits, size=sample.mask.shape, mode="bilinear")[0].argmax(0).numpy()
        right += int((guess == sample.mask)[sample.mask != 255].sum())
        total += int((sample.mask != 255).sum())
    assert protocols.paper.pixel_accuracy == pytest.approx(right / total, abs=1e-3)
    monkeypatch.setitem(READERS, "toys", replace(reader, paper_size=None))
    same = measure(network, Toys(3)).protocols
    assert same.paper == same.native == protocols.native
    console = Console(record=True, width=100)
    render(measure(network, Toys(1)), console)
    assert "at the paper's input size" in console.export_text()
    assert measure(network, Toys(1), scores="segmentation").protocols.paper is None
    own_size = measure(small_network(size=24), Toys(1)).protocols
    assert own_size.native.input_size == 24 and own_size.paper is None
