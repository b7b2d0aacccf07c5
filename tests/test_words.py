"""The words of docstrings: imperatives and noun phrases, and one word for one thing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import scaleprotoseg

ROOT = Path(scaleprotoseg.__file__).parent
PROJECT = Path(__file__).parents[1]
CLAUSE = re.compile(r"(What|Whether|Where|How|Which|Why|Of|Those|That|If|When)\b")
OTHER_WORDS = re.compile(r"\b(pictures?|mend(s|ed)?|stands? still|pupils?|(?<!Barlow )twins?)\b", re.IGNORECASE)
"""Words that have another word in their place: image, fix, frozen, student, noisy copy."""


def docstrings(path: Path) -> Iterator[str]:
    """Yield the docstrings of a module, its classes and functions, and those below constants and attributes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            match statement:
                case ast.Expr(ast.Constant(str(text))):
                    yield text


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docstrings_do_not_begin_with_a_clause(path):
    for text in docstrings(path):
        assert not CLAUSE.match(text), text.splitlines()[0]
        assert not OTHER_WORDS.search(re.sub(r"``[^`]*``", "", text)), text


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in PROJECT.glob("docs/*.md"))]
)
def test_pages_use_the_same_words(page):
    text = (PROJECT / page).read_text(encoding="utf-8")
    prose = re.sub(r"(?s)<!-- written by.*?<!-- end of.*?-->|```.*?```|`[^`\n]*`", "", text)
    assert not (found := OTHER_WORDS.search(prose)), found
