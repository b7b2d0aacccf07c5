"""Write the tables of phases and keys in docs/recipes.md from the docstrings of the code.

python docs/tables.py
"""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from docstring_parser import parse

from scaleprotoseg.training.fit_settings import FitSettings
from scaleprotoseg.training.recipe import KINDS

PAGE = Path(__file__).with_name("recipes.md")


def phases() -> str:
    """Return the table of all kinds of phases and their keys."""
    rows = ["| `do` | does | keys (default) |", "|---|---|---|"]
    for do, kind in KINDS.items():
        text = parse(str(kind.__doc__))
        keys = "the [keys of a fit](#keys-of-a-fit)" if do == "fit" else _keys(kind)
        rows.append(f"| `{do}` | {_cell(str(text.short_description))} | {keys} |")
    return "\n".join(rows)


def fit() -> str:
    """Return the table of the keys of a fit."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    rows += [f"| `{name}` | {default} | {meaning} |" for name, default, meaning in _fields(FitSettings)]
    return "\n".join(rows)


TABLES = {"phases": phases, "keys of a fit": fit}


def with_tables(text: str) -> str:
    """Return the text of the page with every table written anew."""
    for name, table in TABLES.items():
        start, end = f"<!-- table: {name} -->\n", f"\n<!-- end of table: {name} -->"
        text = re.sub(f"(?s){re.escape(start)}.*?{re.escape(end)}", lambda _: start + table() + end, text)  # noqa: B023
    return text


def _keys(kind: type[Any]) -> str:
    return "; ".join(f"`{name}` ({default}): {meaning}" for name, default, meaning in _fields(kind)) or "none"


def _fields(kind: type[Any]) -> list[tuple[str, str, str]]:
    """Return name, default and meaning of every key except ``do``."""
    meanings = {part.arg_name: _cell(str(part.description)) for part in parse(str(kind.__doc__)).params}
    return [(key.name, _default(key), meanings[key.name]) for key in fields(kind) if key.name != "do"]


def _default(key: Any) -> str:
    value = key.default if key.default is not MISSING else key.default_factory()
    return "none" if value in ("", {}, None) else str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    """Return a docstring as the cell of a Markdown table."""
    plain = re.sub(r":\w+:`~?[\w.]*?(\w+)`", r"`\1`", text)
    plain = re.sub(r"; see `FitSettings`", "", plain)
    return " ".join(plain.replace("``", "`").replace("|", "\\|").split()).rstrip(".")


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
