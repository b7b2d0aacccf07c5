from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from scaleprotoseg.errors import UserError
from scaleprotoseg.explanation.clearest_pixels import ClearestPixel, choose_start, clearest_pixels
from scaleprotoseg.explanation.decomposition import Decomposition, decompose
from scaleprotoseg.explanation.page import write_explanation
from scaleprotoseg.explanation.patches import reaches, used_prototypes
from tests.explanation import toy


def data_in(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    values: dict[str, Any] = json.loads(found[1])
    return values


def numbers(text: str) -> npt.NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text), dtype="<f4")


@pytest.fixture(scope="module", params=[True, False], ids=["grouped", "ungrouped"])
def terms(request: pytest.FixtureRequest) -> Decomposition:
    return decompose(toy.network(grouped=request.param), toy.drawn())


@pytest.fixture(scope="module")
def text(terms: Decomposition, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_explanation(terms, path, toy.FILE)
    return path.read_text(encoding="utf-8")


def test_the_page_holds_the_maps_of_the_decomposition(terms: Decomposition, text: str) -> None:
    data = data_in(text)
    image, model = data["images"][0], data["model"]
    assert (image["width"], image["height"]) == terms.image.size
    assert [image["rows"], image["columns"]] == list(terms.logits.shape[-2:])
    np.testing.assert_array_equal(numbers(image["logits"]), terms.logits.float().numpy().ravel())
    np.testing.assert_array_equal(numbers(image["units"]), terms.units.float().numpy().ravel())
    np.testing.assert_array_equal(numbers(model["classifier"]), terms.classifier.float().numpy().ravel())
    ids = [prototype["id"] for prototype in model["prototypes"]]
    if terms.grouped:
        np.testing.assert_array_equal(numbers(image["similarities"]), terms.similarities[ids].float().numpy().ravel())
    else:
        assert image["similarities"] is None
        assert ids == list(range(len(terms.units)))
    weights = torch.zeros_like(terms.weights)
    for unit, entry in enumerate(model["units"]):
        for place, weight in entry["members"]:
            weights[unit, ids[place]] = weight
    torch.testing.assert_close(weights, terms.weights, rtol=0, atol=0)


def test_prototypes_without_a_source_are_shown_as_unknown(terms: Decomposition, text: str) -> None:
    entries = data_in(text)["model"]["prototypes"]
    assert [entry["id"] for entry in entries if entry["source"] is None] == [0]
    assert 'id="patch-0"' not in text
    assert all(f'<symbol id="patch-{index}"' in text for index in used_prototypes(terms)[1:])


def test_every_image_is_embedded_once(terms: Decomposition, text: str) -> None:
    known = [source for source in terms.sources if source is not None]
    for crop in {base64.b64encode(known[index].png).decode() for index in (0, len(known) - 1)}:
        assert text.count(crop) == 1


def test_names_are_escaped_everywhere(text: str) -> None:
    for name in (*toy.HOSTILE[:2], toy.FILE):
        assert name not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "{{ 7 * 7 }}" in text
    assert text.count("<script") == 2
    assert [entry["name"] for entry in data_in(text)["model"]["classes"]] == list(toy.HOSTILE)


def test_the_policy_forbids_requests_and_all_scripts_but_its_own(text: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert policy
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy[1]
    assert "default-src 'none'" in policy[1]
    assert "img-src data:" in policy[1]
    assert not re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?\s*(?:https?:|//)", text)


def test_a_page_replaces_an_older_one_and_leaves_no_other_file(terms: Decomposition, tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    write_explanation(terms, path, "a")
    write_explanation(terms, str(path), "b")
    assert [entry.name for entry in path.parent.iterdir()] == ["page.html"]
    assert "<title>Why these classes? b</title>" in path.read_text(encoding="utf-8")


def test_the_error_names_a_path_that_cannot_be_written(terms: Decomposition, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"page\.html: cannot be written"):
        write_explanation(terms, tmp_path / "file" / "page.html", "a")


def test_clearest_pixels_lie_in_their_classes_and_cover_the_image(terms: Decomposition) -> None:
    pixels = clearest_pixels(terms)
    assert sorted(pixel.index for pixel in pixels) == np.unique(terms.prediction).tolist()
    assert sum(pixel.fraction for pixel in pixels) == pytest.approx(1)
    for pixel in pixels:
        why = terms.at(pixel.x, pixel.y)
        assert why.class_name == terms.labels.names[pixel.index]
        assert pixel.margin == pytest.approx(why.logit - why.runner_up.logit, abs=1e-4)


def test_no_pixel_has_a_larger_margin(terms: Decomposition) -> None:
    (clearest, *_) = sorted(clearest_pixels(terms), key=lambda pixel: -pixel.margin)
    whys = [terms.at(x, y) for x in range(12, 80, 9) for y in range(9, 61, 7)]
    assert clearest.margin >= max(why.logit - why.runner_up.logit for why in whys) - 1e-4


def test_the_start_is_a_clear_pixel_of_a_small_but_visible_class() -> None:
    road, wall, car, pole, speck = (
        ClearestPixel(index, fraction, margin, 0, 0)
        for index, (fraction, margin) in enumerate([(0.6, 5.0), (0.3, 8.0), (0.07, 4.5), (0.029, 1.0), (0.001, 9.0)])
    )
    assert choose_start((road, wall, car, pole, speck)) is car
    assert choose_start((speck,)) is speck


def test_reaches_are_computed_from_the_sources(terms: Decomposition) -> None:
    assert reaches(terms) == list(toy.DILATIONS)


def test_a_reach_is_unknown_without_sources() -> None:
    model = toy.network()
    model.sources = [None] * len(model.sources)
    assert reaches(decompose(model, toy.drawn())) == [None] * len(toy.DILATIONS)
