"""How figures for papers look, and how they become files."""

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

COLUMN = 3.25
"""Width of a column of a two-column paper, in inches."""

PAGE = 6.875
"""Width of both columns, in inches."""

DPI = 300
"""Resolution of PNG files, and of the pictures in SVG files."""

Rgb = tuple[float, float, float]
"""(red, green, blue) in 0-1."""

INK, PALE = "#222222", "#777777"
"""Of what is to be read first, and of the rest."""

BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
"""Of Okabe and Ito, told apart with any colour vision."""

STYLE: dict[str, Any] = {
    "font.size": 7,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": PALE,
    "axes.linewidth": 0.6,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "legend.frameon": False,
    "savefig.dpi": DPI,
    "text.parse_math": False,  # Names of classes are data.
    "svg.fonttype": "none",
    "svg.hashsalt": "scaleprotoseg",
}

LONGEST_NAME = 28
"""Letters of a name that are shown."""

LONGEST_STEM = 40
"""Letters of a name that a file's name has."""


def paper_style() -> AbstractContextManager[None]:
    """The style of all figures, whatever the person's own settings of matplotlib are."""
    return matplotlib.style.context(["default", STYLE])


def scale_colors(number: int) -> list[Rgb]:
    """The colour of every scale, from dark (reads the least) to light."""
    return [(red, green, blue) for red, green, blue, _ in matplotlib.colormaps["viridis"](np.linspace(0, 0.9, number))]


def scale_names(network: Network) -> list[str]:
    """What to call the scales of a network: by number, with the dilation if each has one of its own."""
    pyramid = network.config.pyramid
    if pyramid.fuse == "sum":
        return ["all scales"]
    return [f"scale {number} (dilation {dilation})" for number, dilation in enumerate(pyramid.dilations, start=1)]


def short_name(name: str) -> str:
    """A name as a figure shows it: on one line, of bounded length, without what no file may hold."""
    shown = printable(name)
    return shown if len(shown) <= LONGEST_NAME else f"{shown[: LONGEST_NAME - 1]}…"


def file_stems(names: Iterable[str]) -> list[str]:
    """For every name one that a file can have on any system, all different even where case does not count."""
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
    """A figure whose parts are placed in inches from its upper left corner.

    Args:
        width: Inches.
        height: Inches.

    Attributes:
        figure: The figure.
    """

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure((width, height))

    def place(self, x: float, y: float) -> tuple[float, float]:
        """A point as a share of the figure, from its lower left corner."""
        return x / self.width, 1 - y / self.height

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes without ticks or frame."""
        axes = self.figure.add_axes((*self.place(x, y + height), width / self.width, height / self.height))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        return axes

    def text(self, x: float, y: float, text: str, **style: Any) -> Text:
        """A line of text whose baseline starts at a point, unless the style says otherwise."""
        return self.figure.text(*self.place(x, y), text, **style)

    def square(self, x: float, y: float, side: float, color: Rgb) -> Rectangle:
        """Draws a square."""
        square = Rectangle(self.place(x, y + side), side / self.width, side / self.height, color=color)
        self.figure.add_artist(square)
        return square


def save(figure: Figure, folder: Path, stem: str) -> None:
    """Writes ``STEM.svg`` and ``STEM.png``; the same figure gives the same bytes.

    Raises:
        UserError: If the folder cannot be written.
    """
    for kind, metadata in {"svg": {"Date": None, "Title": stem}, "png": {"Title": stem}}.items():
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            # Letters the font does not have are boxes in the PNG; the SVG keeps them as text.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(buffer, format=kind, metadata=metadata)
        write_file(folder / f"{stem}.{kind}", buffer.getvalue())
