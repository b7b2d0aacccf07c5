"""Scores against counting pixel by pixel."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.data.registry import READERS, Reader
from scaleprotoseg.errors import UserError
from scaleprotoseg.evaluation.metrics import measure, render
from scaleprotoseg.evaluation.segmentation import score_segmentation, scores_from_confusion
from scaleprotoseg.evaluation.sparsity import Sparsity, sparsity
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.groups import GroupHead
from scaleprotoseg.model.network import Network
from tests.model.test_search import small_network
from tests.toys import LABELS, Toys


@given(
    st.integers(2, 5).flatmap(
        lambda c: st.lists(st.tuples(st.integers(0, c - 1), st.integers(0, c - 1)), min_size=1, max_size=40).map(
            lambda pixels: (c, pixels)
        )
    )
)
def test_scores_by_counting(case):
    classes, pixels = case
    confusion = torch.zeros(classes, classes, dtype=torch.long)
    for truth, guess in pixels:
        confusion[truth, guess] += 1
    scores = scores_from_confusion(confusion, 1)
    ious = []
    for label in range(classes):
        both = sum(t == label and g == label for t, g in pixels)
        either = sum(t == label or g == label for t, g in pixels)
        if either:
            ious.append(both / either)
            assert float(scores.iou[label]) == pytest.approx(both / either)
        else:
            assert math.isnan(scores.iou[label])
    assert scores.miou == pytest.approx(sum(ious) / len(ious))
    assert scores.pixel_accuracy == pytest.approx(sum(t == g for t, g in pixels) / len(pixels))


@torch.no_grad()
def test_score_of_a_network_by_hand():
    network, dataset = small_network(), Toys(3)
    right = total = 0
    for index in range(3):
        sample = dataset[index]
        tensor = torch.from_numpy(np.array(sample.image)).permute(2, 0, 1)[None] / 255
        logits = torch.nn.functional.interpolate(network(tensor).logits, size=sample.mask.shape, mode="bilinear")
        guess, valid = logits[0].argmax(0).numpy(), sample.mask != 255
        right += int((guess == sample.mask)[valid].sum())
        total += int(valid.sum())
    assert score_segmentation(network, dataset).pixel_accuracy == pytest.approx(right / total, abs=1e-3)


def test_other_classes_are_refused():
    other = LabelTable.from_json({"classes": ["ground", "disc", "pole"]})
    network = Network(small_network().config, other).eval()
    with pytest.raises(UserError, match=r"its classes .* are not the model's"):
        score_segmentation(network, Toys(1))


def test_metrics_have_the_documented_form():
    network = small_network()
    network.replace_head(GroupHead.over(network.head, 2), network.sources)
    metrics = json.loads(json.dumps(measure(network, Toys(2), seed=3, scores="all"), allow_nan=False))
    assert list(metrics) == [
        "method", "data", "split", "num_images", "miou", "pixel_accuracy", "iou", "protocols",
        "sparsity", "consistency", "stability", "parts", "overlap", "faithfulness", "seed", "versions",
    ]  # fmt: skip
    assert list(metrics["iou"]) == list(LABELS.names)
    assert metrics["seed"] == 3 and metrics["consistency"] is None
    assert metrics["sparsity"]["prototypes_total"] == 12
    native = {"input_size": None, "miou": metrics["miou"], "pixel_accuracy": metrics["pixel_accuracy"]}
    assert metrics["protocols"] == {"native": native, "paper": None}
    console = Console(record=True, width=100)
    render(metrics, console)
    text = console.export_text()
    assert f"{metrics['miou']:.3f}" in text
    assert metrics["parts"] is None and set(metrics["overlap"]) == {"within_scale", "across_scales", "groups"}
    assert list(metrics["overlap"]["groups"]) == ["0.8", "0.9", "0.95", "0.99"]
    shown = metrics["faithfulness"]
    assert shown["explained_variance"] == pytest.approx(1, abs=1e-6)
    assert shown["ablation"]["error"] < 1e-9 and shown["members"]["error"] < 1e-9
    assert f"{shown['misalignment']['overall']['inside']:.3f}" in text
    quick = measure(network, Toys(2), scores="segmentation")
    assert quick["miou"] == pytest.approx(metrics["miou"]) and quick["overlap"] is None


def test_a_black_box_has_nothing_to_explain():
    box = Network(NetworkConfig(EncoderConfig("resnet10t", stage=2), PyramidConfig((1,)), HeadConfig("direct")), LABELS)
    metrics = measure(box.eval(), Toys(1), scores="all")
    assert [metrics[name] for name in ("consistency", "overlap", "faithfulness")] == [None] * 3


def test_the_papers_input_size_is_measured_beside_the_native_one(monkeypatch):
    network, reader = small_network(), Reader(lambda *_: Toys(), paper=True, paper_size=(24, 72))
    monkeypatch.setitem(READERS, "toys", reader)
    protocols = measure(network, Toys(3))["protocols"]
    assert protocols["paper"]["input_size"] == (24, 72)
    right = total = 0
    for index in range(3):
        sample = Toys(3)[index]
        small = np.array(sample.image.resize((72, 24), Image.Resampling.BILINEAR))
        logits = network(torch.from_numpy(small).permute(2, 0, 1)[None] / 255).logits
        guess = torch.nn.functional.interpolate(logits, size=sample.mask.shape, mode="bilinear")[0].argmax(0).numpy()
        right += int((guess == sample.mask)[sample.mask != 255].sum())
        total += int((sample.mask != 255).sum())
    assert protocols["paper"]["pixel_accuracy"] == pytest.approx(right / total, abs=1e-3)
    monkeypatch.setitem(READERS, "toys", replace(reader, paper_size=None))
    same = measure(network, Toys(3))["protocols"]
    assert same["paper"] == same["native"] == protocols["native"]
    console = Console(record=True, width=100)
    render(measure(network, Toys(1)), console)
    assert "at the paper's input size" in console.export_text()
    assert measure(network, Toys(1), scores="segmentation")["protocols"]["paper"] is None
    own_size = measure(small_network(size=24), Toys(1))["protocols"]
    assert own_size["native"]["input_size"] == 24 and own_size["paper"] is None


def test_sparsity_counts():
    network = small_network()
    assert sparsity(network) == Sparsity(12, 12, None, 4.0)
    head = GroupHead.over(network.head, 2)
    head.weights.data.zero_()
    head.weights.data[0, 0, 0] = 1
    head.weights.data[1, 1, :3] = 0.3
    network.replace_head(head, network.sources)
    assert sparsity(network) == Sparsity(4, 12, pytest.approx(4 / 6), pytest.approx(4 / 3))
    box = NetworkConfig(EncoderConfig("resnet10t", stage=2), PyramidConfig((1, 2)), HeadConfig("direct"))
    assert sparsity(Network(box, LABELS)) == Sparsity(None, None, None, None)


def test_a_picture_without_mask_is_refused():
    class Unlabelled(Toys):
        def __getitem__(self, index):
            return replace(super().__getitem__(index), mask=None)

    with pytest.raises(UserError, match="has no mask"):
        score_segmentation(small_network(), Unlabelled(1))


def test_predictions_keep_the_picture_size():
    network = small_network(size=24)
    page = network.explain(Image.new("RGB", (50, 31)))
    assert page.prediction.shape == (31, 50)
