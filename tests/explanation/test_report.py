from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import torch

from scaleprotoseg.explanation import report_examples
from scaleprotoseg.explanation.class_cards import class_cards
from scaleprotoseg.explanation.decomposition import decompose
from scaleprotoseg.explanation.report import write_report
from scaleprotoseg.model.network import Network
from tests.explanation import toy

METRICS: dict[str, Any] = {
    "method": "scaleprotoseg",
    "data": "<b>data</b>",
    "split": "val",
    "num_images": 7,
    "miou": 0.4321,
    "pixel_accuracy": 0.876,
    "iou": {name: None if index == 3 else 0.1 * (index + 1) for index, name in enumerate(toy.HOSTILE)},
    "consistency": None,
    "stability": 0.5,
    "sparsity": {
        "prototypes_used": 17,
        "prototypes_total": 24,
        "members_per_group": 2.25,
        "prototypes_per_class": None,
    },
    "overlap": {"prototypes": {"0.8": 0.123, "0.9": None}},
    "seed": 3,
    "versions": {"torch": "2"},
}


def words(path: Path) -> str:
    """Text of a page, without the markup."""
    body = path.read_text(encoding="utf-8").split("<body>")[1]
    body = re.sub(r"<script.*?</script>", "", body, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "report.html"


def test_metrics_are_shown_as_measured(path: Path) -> None:
    write_report(toy.network(), path, METRICS, [])
    text = words(path)
    assert "Mean IoU 43.2 %" in text
    assert "Pixel accuracy 87.6 %" in text
    assert "17 of 24" in text
    assert "Patches per group 2.25" in text
    assert "Consistency not measured" in text
    assert "Stability 50.0 %" in text
    assert "Measured on <b>data</b>, split val, 7 images; seed 3." in text
    assert "prototypes, 0.8 0.123 prototypes, 0.9 not measured" in text
    assert re.search(r"plain not measured", text)
    assert 'aria-valuenow="20.0"' in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("metrics", [None, {}, dict.fromkeys(METRICS)])
def test_missing_metrics_are_shown_as_not_measured(path: Path, metrics: dict[str, Any] | None) -> None:
    model = toy.network()
    write_report(model, path, metrics, [])
    text = words(path)
    assert "Mean IoU not measured" in text
    assert "0.0 %" not in text
    assert f"{len(model.sources)} of {len(model.sources)}" in text


def test_every_group_shows_its_prototypes_at_their_scales(path: Path) -> None:
    model = toy.network()
    model_terms = decompose(model, toy.drawn())
    cards = class_cards(model_terms)
    assert [card.name for card in cards] == list(toy.HOSTILE)
    weights = torch.zeros_like(model_terms.weights)
    unit = 0
    for card in cards:
        for row in card.rows:
            assert row.weight == pytest.approx(float(model_terms.classifier[card.index, unit]))
            for scale, uses in enumerate(row.scales):
                for use in uses:
                    assert int(model_terms.prototype_scale[use.prototype]) == scale
                    weights[unit, use.prototype] = use.weight
                    sharing = [
                        other for other in range(len(model_terms.weights)) if model_terms.weights[other, use.prototype]
                    ]
                    assert len(use.also_in) == len(sharing) - 1
            unit += 1
        assert card.foreign_units == int((model_terms.unit_class != card.index).sum())
        foreign = model_terms.classifier[card.index][model_terms.unit_class != card.index].abs()
        assert [abs(other.weight) for other in card.foreign] == pytest.approx(
            foreign.sort(descending=True).values[:5].tolist()
        )
    assert cards[0].negligible == 1
    torch.testing.assert_close(weights, model_terms.weights, rtol=0, atol=0)
    write_report(model, path, None, [])
    assert path.read_text(encoding="utf-8").count("#0: source unknown") == int((model_terms.weights[:, 0] > 0).sum())


def test_without_groups_a_class_is_one_row_of_prototypes(path: Path) -> None:
    model = toy.network(grouped=False)
    model_terms = decompose(model, toy.drawn())
    for card in class_cards(model_terms):
        (row,) = card.rows
        uses = [use for uses in row.scales for use in uses]
        assert (
            sorted(use.prototype for use in uses) == (model_terms.unit_class == card.index).nonzero().flatten().tolist()
        )
        assert all(
            use.weight == pytest.approx(float(model_terms.classifier[card.index, use.prototype])) for use in uses
        )
    write_report(model, path, None, [toy.sample()])
    assert "Patches per group" not in words(path)


def test_a_black_box_gets_its_metrics_and_examples_but_no_explanations(path: Path) -> None:
    write_report(toy.network(black_box=True), path, METRICS, [toy.sample()])
    text = words(path)
    assert "its decisions cannot be explained" in text
    assert "of the labeled pixels are correct" in text
    assert 'id="data"' not in path.read_text(encoding="utf-8")


def test_examples_show_their_accuracy(path: Path) -> None:
    model, sample = toy.network(), toy.sample()
    prediction = decompose(model, sample.image).prediction
    assert sample.mask is not None
    right = 100 * (prediction == sample.mask)[5:].mean()
    write_report(model, path, None, [sample, toy.sample("unlabeled", 1, labeled=False)])
    text = words(path)
    assert f"{right:.1f} % of the labeled pixels are correct" in text
    assert text.count("of the labeled pixels are correct") == 1
    assert text.count("Wrong pixels") == 1


def test_examples_whose_maps_are_too_large_are_shown_without_explanation(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_examples, "MAP_BYTES", 1)
    write_report(toy.network(), path, None, [toy.sample("first"), toy.sample("second", 1)])
    text = path.read_text(encoding="utf-8")
    assert text.count('class="view"') == 1
    assert text.count('class="example"') == 2
    found = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    assert len(json.loads(found[1])["images"]) == 1


def test_names_are_escaped_everywhere(path: Path) -> None:
    write_report(toy.network(), path, METRICS, [toy.sample()])
    text = path.read_text(encoding="utf-8")
    for name in (*toy.HOSTILE[:2], toy.FILE, "<b>data</b>"):
        assert name not in text
    assert text.count("<script") == 2
    assert toy.HOSTILE[0] in words(path)


BLACK_BOX: dict[str, Any] = {
    "phase": "warm-up <i>",
    "miou": 0.5,
    "pixel_accuracy": 0.9,
    "iou": {name: None if index == 3 else 0.2 * (index + 1) for index, name in enumerate(toy.HOSTILE)},
}


@pytest.mark.parametrize("network", [toy.network(), toy.network(black_box=True)], ids=["prototypes", "black box"])
def test_the_black_box_is_shown_beside_the_model(path: Path, network: Network) -> None:
    write_report(network, str(path), METRICS | {"black_box": BLACK_BOX}, [])
    text = words(path)
    assert "Black box (phase warm-up <i>): mean IoU 50.0 %, pixel accuracy 90.0 %." in text
    assert "This model: mean IoU 43.2 %, pixel accuracy 87.6 %." in text
    assert "It keeps 86.4 % of the black box's mean IoU." in text
    assert "Class IoU Black box Bar" in text
    assert "{{ 7 * 7 }} 30.0 % 60.0 % plain not measured not measured" in text
    assert "<i>" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("black_box", [{}, None])
def test_without_a_black_box_there_is_no_comparison(path: Path, black_box: dict[str, Any] | None) -> None:
    write_report(toy.network(), path, METRICS | {"black_box": black_box}, [])
    assert "Class IoU Bar" in words(path)
    assert "lack box" not in words(path)


@pytest.mark.parametrize(
    ("ours", "box"), [({}, BLACK_BOX), (METRICS, dict.fromkeys(BLACK_BOX)), (METRICS, BLACK_BOX | {"miou": 0.0})]
)
def test_nothing_is_kept_of_what_was_not_measured(path: Path, ours: dict[str, Any], box: dict[str, Any]) -> None:
    write_report(toy.network(), path, ours | {"black_box": box}, [])
    assert "It keeps" not in words(path)
    assert "Class IoU Black box Bar" in words(path)
