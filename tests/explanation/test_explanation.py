"""The explanation of an image: saved as a page, shown in a notebook, printed."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scaleprotoseg.explanation.decomposition import Decomposition, decompose
from scaleprotoseg.explanation.explanation import NOTEBOOK_SIDE, Explanation, explain
from tests.explanation import toy


@pytest.fixture(scope="module", params=[True, False], ids=["grouped", "ungrouped"])
def explanation(request: pytest.FixtureRequest) -> Explanation:
    return explain(toy.network(grouped=request.param), toy.drawn())


def test_an_explanation_is_the_decomposition() -> None:
    network, image = toy.network(), toy.drawn()
    explanation, terms = explain(network, image), decompose(network, image)
    assert isinstance(explanation, Decomposition)
    for field in fields(Decomposition):
        mine, expected = (getattr(one, field.name) for one in (explanation, terms))
        assert torch.equal(mine, expected) if isinstance(expected, torch.Tensor) else mine == expected
    assert explanation.at(3, 4) == terms.at(3, 4)


@pytest.mark.parametrize("kind", [str, Path])
def test_the_page_has_the_name_of_the_file(tmp_path: Path, kind: type[str] | type[Path]) -> None:
    toy.drawn().save(tmp_path / "a & b.png")
    explain(toy.network(), kind(tmp_path / "a & b.png")).save(kind(tmp_path / "new" / "why.html"))
    text = (tmp_path / "new" / "why.html").read_text(encoding="utf-8")
    assert "<title>Why these classes? a &amp; b.png</title>" in text


def test_the_page_has_the_title_that_is_given(explanation: Explanation, tmp_path: Path) -> None:
    explanation.save(tmp_path / "why.html")
    assert "<title>Why these classes? 92x70 image</title>" in (tmp_path / "why.html").read_text(encoding="utf-8")
    explanation.save(tmp_path / "why.html", toy.FILE)
    text = (tmp_path / "why.html").read_text(encoding="utf-8")
    assert toy.FILE not in text and "Why these classes? &lt;/script&gt;" in text


def test_the_repr_names_the_largest_classes() -> None:
    network = toy.network()
    network.labels = toy.table(("a\nb", "c", "d", "e"))
    explanation = explain(network, toy.drawn())
    largest = max(range(4), key=lambda index: float((explanation.prediction == index).mean()))
    first = ("a\ufffdb", "c", "d", "e")[largest]
    percentage = 100 * (explanation.prediction == largest).mean()
    assert repr(explanation).startswith(f"<Explanation of a 92x70 image: {first} {percentage:.0f} %, ")
    assert repr(explanation).endswith("; ask .at(x, y)>")
    assert len(repr(explanation)) < 120


def test_a_notebook_shows_the_classes_and_what_to_do(explanation: Explanation) -> None:
    html = explanation._repr_html_()
    for name in toy.HOSTILE[:2]:
        assert name not in html
    assert "<script" not in html and "http" not in html
    for index, fraction in explanation.class_fractions.items():
        escaped = toy.HOSTILE[index].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        escaped = escaped.replace('"', "&#34;").replace("'", "&#39;")
        assert f"</span>{escaped} {100 * fraction:.1f} %</span>" in html
    assert "<code>.at(x, y)</code>" in html
    assert "<code>.save(&#34;why.html&#34;)</code>" in html or '<code>.save("why.html")</code>' in html


@pytest.mark.parametrize("size", [(700, 100), (100, 700), (40, 30), (1, 1)])
def test_the_image_in_a_notebook_is_small(size: tuple[int, int]) -> None:
    explanation = explain(toy.network(), toy.drawn(size=size))
    found = re.search(r'src="data:image/jpeg;base64,([^"]*)"', explanation._repr_html_())
    assert found
    shown = Image.open(io.BytesIO(base64.b64decode(found[1])))
    factor = min(1, NOTEBOOK_SIDE / max(size))
    assert shown.size == pytest.approx([side * factor for side in size], abs=1)
    # Half of a pixel's color is that of its class, half that of the image.
    palette = explanation.labels.palette()[explanation.prediction]
    expected = (palette.mean() + np.asarray(explanation.image).mean()) / 2
    assert np.asarray(shown).mean() == pytest.approx(expected, abs=4)
