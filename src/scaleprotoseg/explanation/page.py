"""The interactive page that says why each pixel of one picture got its class."""

from __future__ import annotations

from pathlib import Path

from scaleprotoseg.explanation.html import write_html
from scaleprotoseg.explanation.payload import Picture
from scaleprotoseg.model.decomposition import Page


def write_explanation(page: Page, path: Path, title: str) -> None:
    """Writes one self-contained HTML file in which every pixel of a picture can be asked why.

    The numbers are those of :meth:`Page.at`: the file holds the maps, rounded to float32, and repeats its
    arithmetic.

    Args:
        page: From ``network.explain(image)``.
        path: The file to write; an existing one is replaced in one move.
        title: What to call the picture, usually its file name.

    Raises:
        UserError: If the file cannot be written.
    """
    write_html(path, "explain.html.j2", page, [Picture.of(page, title)], title=title)
