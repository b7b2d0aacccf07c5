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
from scaleprotoseg.explanation.page import write_explanation
from scaleprotoseg.explanation.payload import Anchor, choose_start, find_anchors, reaches, used_prototypes
from scaleprotoseg.model.decomposition import Page
from tests.explanation import toy


def data_in(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    values: dict[str, Any] = json.loads(found[1])
    return values


def numbers(text: str) -> npt.NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text), dtype="<f4")


@pytest.fixture(scope="module", params=[True, False], ids=["grouped", "ungrouped"])
def page(request: pytest.FixtureRequest) -> Page:
    return toy.network(grouped=request.param).explain(toy.drawn())


@pytest.fixture(scope="module")
def text(page: Page, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_explanation(page, path, toy.FILE)
    return path.read_text(encoding="utf-8")


def test_the_page_holds_the_maps_of_the_decomposition(page: Page, text: str) -> None:
    data = data_in(text)
    picture, model = data["pictures"][0], data["model"]
    assert (picture["width"], picture["height"]) == page.image.size
    assert [picture["rows"], picture["columns"]] == list(page.logits.shape[-2:])
    np.testing.assert_array_equal(numbers(picture["logits"]), page.logits.float().numpy().ravel())
    np.testing.assert_array_equal(numbers(picture["units"]), page.units.float().numpy().ravel())
    np.testing.assert_array_equal(numbers(model["classifier"]), page.classifier.float().numpy().ravel())
    ids = [prototype["id"] for prototype in model["prototypes"]]
    if page.grouped:
        np.testing.assert_array_equal(numbers(picture["similarities"]), page.similarities[ids].float().numpy().ravel())
    else:
        assert picture["similarities"] is None
        assert ids == list(range(len(page.units)))
    weights = torch.zeros_like(page.weights)
    for unit, entry in enumerate(model["units"]):
        for place, weight in entry["members"]:
            weights[unit, ids[place]] = weight
    torch.testing.assert_close(weights, page.weights, rtol=0, atol=0)


def test_prototypes_without_a_source_are_said_to_be_unknown(page: Page, text: str) -> None:
    entries = data_in(text)["model"]["prototypes"]
    assert [entry["id"] for entry in entries if entry["source"] is None] == [0]
    assert 'id="patch-0"' not in text
    assert all(f'<symbol id="patch-{index}"' in text for index in used_prototypes(page)[1:])


def test_every_picture_is_embedded_once(page: Page, text: str) -> None:
    known = [source for source in page.sources if source is not None]
    for picture in {base64.b64encode(known[index].picture).decode() for index in (0, len(known) - 1)}:
        assert text.count(picture) == 1


def test_names_are_escaped_everywhere(text: str) -> None:
    for name in (*toy.HOSTILE[:2], toy.FILE):
        assert name not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "{{ 7 * 7 }}" in text
    assert text.count("<script") == 2
    assert [entry["name"] for entry in data_in(text)["model"]["classes"]] == list(toy.HOSTILE)


def test_the_policy_forbids_the_network_and_every_script_but_its_own(text: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert policy
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy[1]
    assert "default-src 'none'" in policy[1]
    assert "img-src data:" in policy[1]
    assert not re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?\s*(?:https?:|//)", text)


def test_a_page_replaces_an_older_one_and_leaves_nothing_beside(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    write_explanation(page, path, "a")
    write_explanation(page, path, "b")
    assert [entry.name for entry in path.parent.iterdir()] == ["page.html"]
    assert "<title>Why these classes? b</title>" in path.read_text(encoding="utf-8")


def test_a_place_that_cannot_be_written_is_named(page: Page, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"page\.html: cannot be written"):
        write_explanation(page, tmp_path / "file" / "page.html", "a")


def test_anchors_lie_in_their_classes_and_cover_the_picture(page: Page) -> None:
    anchors = find_anchors(page, page.prediction)
    assert sorted(anchor.index for anchor in anchors) == np.unique(page.prediction).tolist()
    assert sum(anchor.share for anchor in anchors) == pytest.approx(1)
    for anchor in anchors:
        why = page.at(anchor.x, anchor.y)
        assert why.class_name == page.labels.names[anchor.index]
        assert anchor.margin == pytest.approx(why.logit - why.runner_up.logit, abs=1e-4)


def test_anchors_are_the_clearest_pixels(page: Page) -> None:
    (clearest, *_) = sorted(find_anchors(page, page.prediction), key=lambda anchor: -anchor.margin)
    whys = [page.at(x, y) for x in range(12, 80, 9) for y in range(9, 61, 7)]
    assert clearest.margin >= max(why.logit - why.runner_up.logit for why in whys) - 1e-4


def test_the_start_is_a_clear_pixel_of_a_small_class_but_no_speck() -> None:
    road, wall, car, pole, speck = (
        Anchor(index, share, margin, 0, 0)
        for index, (share, margin) in enumerate([(0.6, 5.0), (0.3, 8.0), (0.07, 4.5), (0.029, 1.0), (0.001, 9.0)])
    )
    assert choose_start((road, wall, car, pole, speck)) is car
    assert choose_start((speck,)) is speck


def test_reaches_are_read_off_the_sources(page: Page) -> None:
    assert reaches(page) == list(toy.DILATIONS)


def test_a_reach_no_source_tells_is_unknown() -> None:
    model = toy.network()
    model.sources = [None] * len(model.sources)
    assert reaches(model.explain(toy.drawn())) == [None] * len(toy.DILATIONS)
