"""The figure on a class: its groups on one picture, each with its prototypes and the patches these are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from scaleprotoseg.data.dataset import Sample
from scaleprotoseg.explanation.cards import Use, class_card
from scaleprotoseg.explanation.paper_figures.style import PAGE, PALE, Sheet, scale_colors, short_name
from scaleprotoseg.explanation.paper_figures.tiles import Backdrop, Heat, draw_patch
from scaleprotoseg.model.decomposition import Page

PER_LINE = 7
"""Prototypes beside each other, at most."""

FEWEST = 6
"""So many tiles fit beside each other in any case: the legends must find room beside two of them."""

LEGEND = 2
"""Scales that the legend names beside each other."""

EDGE, GAP, WORDS = 0.05, 0.07, 0.14
"""Inches around the figure, between tiles, and for a line of words."""

FLATTEST, TALLEST = 0.3, 1.3
"""Room for maps, as height over width; pictures beyond are drawn smaller."""


@dataclass(frozen=True)
class Row:
    """What a line of the figure shows: a group, or the prototypes of a scale in a model without groups.

    Attributes:
        title: What to call it.
        activation: (h, w) logarithm of the group's activation, the weighted sum of its prototypes' similarities; None
            without groups.
        uses: Its prototypes by decreasing weight.
    """

    title: str
    activation: Tensor | None
    uses: tuple[Use, ...]

    @property
    def lines(self) -> list[tuple[Use, ...]]:
        """The prototypes in as few lines as they fit in, about as many in each."""
        if not self.uses:
            return []
        length = math.ceil(len(self.uses) / math.ceil(len(self.uses) / PER_LINE))
        return [self.uses[first : first + length] for first in range(0, len(self.uses), length)]


def rows_of(page: Page, index: int, scales: Sequence[str]) -> list[Row]:
    """The rows of the class with train id ``index``.

    Args:
        page: Of the picture.
        index: The class.
        scales: Names of the scales.
    """
    card = class_card(page, index)
    if not page.grouped:
        return [Row(name, None, uses) for name, uses in zip(scales, card.rows[0].scales, strict=False) if uses]
    units = page.units[page.unit_class == index].log()
    return [
        Row(
            f"Group {row.number}, weight to the class {row.weight:.2f}",
            activation,
            tuple(sorted(chain.from_iterable(row.scales), key=lambda use: -use.weight)),
        )
        for row, activation in zip(card.rows, units, strict=True)
    ]


@dataclass(frozen=True)
class Layout:
    """Where things are, in inches.

    Attributes:
        tile: Width of a tile, and height of one with a patch.
        aspect: Height over width of the room for a map.
        left: Where the first prototype starts.
        scales: How many scales the legend names.
    """

    tile: float
    aspect: float
    left: float
    scales: int

    @classmethod
    def of(cls, rows: Sequence[Row], aspect: float, scales: int) -> Layout:
        """Fits the longest line of prototypes into the width of a page, beside the maps of groups if there are any."""
        columns = max(len(line) for row in rows for line in row.lines)
        beside = 2 * any(row.activation is not None for row in rows)
        across = max(columns + beside, FEWEST)
        tile = (PAGE - 2 * EDGE - WORDS - GAP * across) / across
        left = EDGE + (beside and WORDS + beside * (tile + GAP))
        return cls(tile, min(max(aspect, FLATTEST), TALLEST), left, scales)

    @property
    def wide(self) -> float:
        """Width of the picture and of the maps of groups: two tiles."""
        return 2 * self.tile + GAP

    @property
    def line(self) -> float:
        """Height of a line of prototypes."""
        return 2 * WORDS + self.tile + GAP / 2 + self.tile * self.aspect

    @property
    def header(self) -> float:
        """Height of the picture with the legends beside it."""
        return max(self.wide * self.aspect, 1.05 + WORDS * math.ceil(self.scales / LEGEND)) + 2 * GAP

    def row(self, row: Row) -> float:
        """Height of a row."""
        wide = 0 if row.activation is None else self.wide * self.aspect + 2 * WORDS
        return WORDS + max(wide, self.line * len(row.lines)) + 2 * GAP


def groups_figure(page: Page, sample: Sample, index: int, scales: Sequence[str]) -> Figure:
    """Draws a class: a row a group (without groups: a scale), with its prototypes by decreasing weight.

    Args:
        page: Decomposition of the sample.
        sample: The picture; where it is labelled as the class is outlined.
        index: Train id of a class with prototypes.
        scales: Names of the network's scales.

    Raises:
        UserError: If the stored picture of a training patch is damaged.
    """
    return _Drawing(page, sample, index, scales).sheet.figure


class _Drawing:
    """The figure while it is drawn; arguments as :func:`groups_figure` takes them."""

    def __init__(self, page: Page, sample: Sample, index: int, scales: Sequence[str]) -> None:
        rows = rows_of(page, index, scales)
        width, height = page.image.size
        region = np.zeros((height, width), dtype=bool) if sample.mask is None else sample.mask == index
        red, green, blue = page.labels.palette()[index] / 255
        self.page, self.scales, self.colors = page, scales, scale_colors(len(scales))
        self.backdrop = Backdrop.of(page.image, region, (red, green, blue))
        self.similarity = Heat.of([page.similarities[use.prototype] for row in rows for use in row.uses])
        activations = [row.activation for row in rows if row.activation is not None]
        self.activation = Heat.of(activations) if activations else None
        self.layout = Layout.of(rows, self.backdrop.aspect, len(scales))
        self.sheet = Sheet(PAGE, EDGE + self.layout.header + sum(map(self.layout.row, rows)))
        self._draw_header(short_name(page.labels.names[index]), short_name(sample.name))
        y = EDGE + self.layout.header
        for row in rows:
            self._draw_row(row, y)
            y += self.layout.row(row)

    def _draw_header(self, name: str, picture: str) -> None:
        sheet, layout = self.sheet, self.layout
        self.backdrop.draw(sheet.axes(EDGE, EDGE, layout.wide, layout.wide * layout.aspect))
        left = EDGE + layout.wide + GAP + WORDS
        sheet.square(left, EDGE + 0.02, 0.12, self.backdrop.color)
        sheet.text(left + 0.19, EDGE + 0.13, name, fontsize=10, weight="bold")
        outlined = "labelled pixels outlined" if self.backdrop.region.any() else "no pixel labelled"
        sheet.text(left, EDGE + 0.34, f"{picture}: {outlined}")
        keys = {"similarity to a prototype": self.similarity}
        if self.activation is not None:
            keys = {"logarithm of a group's activation": self.activation} | keys
        for place, (meaning, heat) in enumerate(keys.items()):
            x = left + 2.2 * place
            sheet.text(x, EDGE + 0.56, meaning)
            heat.draw_key(sheet.axes(x, EDGE + 0.61, 1.8, 0.09))
        whole = "in the group" if self.page.grouped else "to the class"
        sheet.text(left, EDGE + 0.97, f"bold: weight {whole}; box: region shown for the scale")
        sheet.figure.legend(
            [Patch(color=color) for color in self.colors], self.scales,
            loc="upper left", bbox_to_anchor=sheet.place(left, EDGE + 1.05), ncols=LEGEND, borderpad=0, borderaxespad=0,
            handlelength=0.8, handleheight=0.8, columnspacing=1.2,
        )  # fmt: skip

    def _draw_row(self, row: Row, y: float) -> None:
        sheet, layout, top = self.sheet, self.layout, y + WORDS
        sheet.text(EDGE, top - 0.04, row.title, weight="bold")
        if row.activation is not None and self.activation is not None:
            height = layout.wide * layout.aspect
            axes = sheet.axes(EDGE, top + WORDS, layout.wide, height)
            self.backdrop.draw_map(axes, row.activation, self.activation)
            self.backdrop.draw_outline(axes, "white", 0.35)
            sheet.text(
                EDGE, top + WORDS + height + 0.1, f"max {float(row.activation.max()):.2f}", color=PALE, fontsize=6
            )
        for line in row.lines:
            for place, use in enumerate(line):
                self._draw_use(use, layout.left + place * (layout.tile + GAP), top)
            top += layout.line

    def _draw_use(self, use: Use, x: float, y: float) -> None:
        """A prototype: weight and scale, its patch, its similarity on the picture."""
        sheet, tile, height = self.sheet, self.layout.tile, self.layout.tile * self.layout.aspect
        scale, similarity = int(self.page.prototype_scale[use.prototype]), self.page.similarities[use.prototype]
        right, patch, below = x + tile, y + WORDS, y + WORDS + tile + GAP / 2
        sheet.text(x, patch - 0.045, f"{use.weight:.2f}", weight="bold")
        if self.page.grouped:
            sheet.text(right, patch - 0.045, self.scales[scale].partition(" (")[0], ha="right")
        draw_patch(sheet.axes(x, patch, tile, tile), use.source, self.colors[scale])
        self.backdrop.draw_map(sheet.axes(x, below, tile, height), similarity, self.similarity)
        sheet.text(x, below + height + 0.1, f"#{use.prototype}", color=PALE, fontsize=6)
        sheet.text(
            right, below + height + 0.1, f"max {float(similarity.max()):.2f}", color=PALE, fontsize=6, ha="right"
        )
