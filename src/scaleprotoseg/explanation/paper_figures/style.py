"""The style of figures for papers, and writing them to files."""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from scaleprotoseg.data.files import printable
from scaleprotoseg.files import write_file
from scaleprotoseg.model.network import Network

COLUMN_WIDTH = 3.25
"""Width of one column of a two-column paper, in inches."""

PAGE_WIDTH = 6.875
"""Width of both columns, in inches."""

DPI = 300
"""Resolution of PNG files, and of the images in SVG files, in dots per inch."""

Rgb = tuple[float, float, float]
"""(red, green, blue) in 0-1."""

INK, MUTED = "#222222", "#777777"
"""Colors of important and of less important text."""

BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
"""Colors of Okabe and Ito, which can be told apart with any color vision."""

STYLE: dict[str, Any] = {
    "font.size": 7,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "legend.frameon": False,
    "savefig.dpi": DPI,
    "text.parse_math": False,  # Names of classes may contain dollar signs.
    "svg.fonttype": "none",
    "svg.hashsalt": "scaleprotoseg",
}

LONGEST_NAME = 28
"""Largest number of characters of a name in a figure."""

LONGEST_STEM = 40
"""Largest number of characters of a name in a file name."""


def paper_style() -> AbstractContextManager[None]:
    """Return a context with the style of all figures, which does not depend on the user's matplotlib settings."""
    return matplotlib.style.context(["default", STYLE])


def scale_colors(number: int) -> list[Rgb]:
    """Return the colors of the scales, from dark (the smallest region) to light."""
    return [(red, green, blue) for red, green, blue, _ in matplotlib.colormaps["viridis"](np.linspace(0, 0.9, number))]


def scale_names(network: Network) -> list[str]:
    """Return the names of a network's scales: a number, and the dilation unless the branches are summed."""
    pyramid = network.config.pyramid
    if pyramid.fuse == "sum":
        return ["all scales"]
    return [f"scale {number} (dilation {dilation})" for number, dilation in enumerate(pyramid.dilations, start=1)]


def short_name(name: str) -> str:
    """Shorten a name to one line of at most ``LONGEST_NAME`` printable characters."""
    shown = printable(name)
    return shown if len(shown) <= LONGEST_NAME else f"{shown[: LONGEST_NAME - 1]}…"


def file_stems(names: Iterable[str]) -> list[str]:
    """Convert names to file names that are valid on any system, and differ even where case is ignored."""
    taken: set[str] = set()
    stems = []
    for name in names:
        plain = re.sub(r"\W+", "-", unicodedata.normalize("NFKC", name)).strip("-")[:LONGEST_STEM] or "class"
        stem = plain
        numbers = count(2)
        while stem.casefold() in taken:
            stem = f"{plain}-{next(numbers)}"
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


class Sheet:
    """A figure whose contents are placed in inches from its upper left corner.

    Args:
        width: Width in inches.
        height: Height in inches.

    Attributes:
        figure: The figure.
    """

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure((width, height))

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Convert a point to fractions of the figure, from its lower left corner."""
        return x / self.width, 1 - y / self.height

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Add axes without ticks or frame."""
        axes = self.figure.add_axes((*self.place(x, y + height), width / self.width, height / self.height))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        return axes

    def text(self, x: float, y: float, text: str, **style: Any) -> Text:
        """Add a line of text whose baseline starts at a point, unless the style says otherwise."""
        return self.figure.text(*self.place(x, y), text, **style)

    def square(self, x: float, y: float, side: float, color: Rgb) -> Rectangle:
        """Add a square."""
        square = Rectangle(self.place(x, y + side), side / self.width, side / self.height, color=color)
        self.figure.add_artist(square)
        return square


def save(figure: Figure, folder: str | Path, stem: str) -> None:
    """Write ``STEM.svg`` and ``STEM.png``; the same figure gives the same bytes.

    Raises:
        UserError: If the folder cannot be written.
    """
    for kind, metadata in {"svg": {"Date": None, "Title": stem}, "png": {"Title": stem}}.items():
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            # Characters that the font lacks become boxes in the PNG; the SVG keeps them as text.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(buffer, format=kind, metadata=metadata)
        write_file(Path(folder) / f"{stem}.{kind}", buffer.getvalue())
