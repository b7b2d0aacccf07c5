"""The interactive page on which every pixel of one image can be explained."""

from __future__ import annotations

from pathlib import Path

from scaleprotoseg.explanation.decomposition import Decomposition
from scaleprotoseg.explanation.html import write_html
from scaleprotoseg.explanation.payload import ExplainedImage


def write_explanation(decomposition: Decomposition, path: str | Path, title: str) -> None:
    """Write one self-contained HTML file that explains every pixel of an image.

    Its numbers are those of :meth:`Decomposition.at`: the file holds the maps, rounded to float32, and repeats the
    computation in the browser.

    Args:
        decomposition: Decomposition of the image.
        path: HTML file to write; an existing file is replaced.
        title: Name of the image, usually its file name.

    Raises:
        UserError: If the file cannot be written.
    """
    write_html(path, "explain.html.j2", decomposition, [ExplainedImage.of(decomposition, title)], title=title)
