"""The figure on a class: its groups on one image, each with its prototypes and their training patches."""

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
from scaleprotoseg.explanation.class_cards import PrototypeUse, class_card
from scaleprotoseg.explanation.decomposition import Decomposition
from scaleprotoseg.explanation.paper_figures.style import MUTED, PAGE_WIDTH, Sheet, scale_colors, short_name
from scaleprotoseg.explanation.paper_figures.tiles import Backdrop, Heat, draw_patch

PER_LINE = 7
"""Largest number of prototypes side by side."""

FEWEST = 6
"""Smallest number of tiles side by side that the layout makes room for, so that the legends fit beside two of them."""

LEGEND_COLUMNS = 2
"""Number of scales side by side in the legend."""

EDGE, GAP, TEXT_LINE = 0.05, 0.07, 0.14
"""Margin of the figure, distance between tiles, and height of a line of text, in inches."""

FLATTEST, TALLEST = 0.3, 1.3
"""Range of the aspect ratio (height over width) of the space for maps; images outside it are drawn smaller."""


@dataclass(frozen=True)
class Row:
    """A row of the figure: a group, or the prototypes of one scale in a model without groups.

    Attributes:
        title: Title of the row.
        activation: (h, w) logarithm of the group's activation, the weighted sum of its prototypes' similarities; None
            without groups.
        uses: Its prototypes, largest weight first.
    """

    title: str
    activation: Tensor | None
    uses: tuple[PrototypeUse, ...]

    @property
    def lines(self) -> list[tuple[PrototypeUse, ...]]:
        """The prototypes in as few lines as possible, with nearly the same number in each."""
        if not self.uses:
            return []
        length = math.ceil(len(self.uses) / math.ceil(len(self.uses) / PER_LINE))
        return [self.uses[first : first + length] for first in range(0, len(self.uses), length)]


def rows_of(decomposition: Decomposition, index: int, scales: Sequence[str]) -> list[Row]:
    """Return the rows of one class.

    Args:
        decomposition: Decomposition of the image.
        index: Train id of the class.
        scales: Names of the scales.
    """
    card = class_card(decomposition, index)
    if not decomposition.grouped:
        return [Row(name, None, uses) for name, uses in zip(scales, card.rows[0].scales, strict=False) if uses]
    activations = decomposition.units[decomposition.unit_class == index].log()
    return [
        Row(
            f"Group {row.number}, weight for the class {row.weight:.2f}",
            activation,
            tuple(sorted(chain.from_iterable(row.scales), key=lambda use: -use.weight)),
        )
        for row, activation in zip(card.rows, activations, strict=True)
    ]


@dataclass(frozen=True)
class Layout:
    """Sizes and positions in the figure, in inches.

    Attributes:
        tile: Width of a tile, and height of a tile with a training patch.
        aspect: Height over width of the space for a map.
        left: Left edge of the first prototype.
        scales: Number of scales in the legend.
    """

    tile: float
    aspect: float
    left: float
    scales: int

    @classmethod
    def of(cls, rows: Sequence[Row], aspect: float, scales: int) -> Layout:
        """Fit the longest line of prototypes, and the map of the group if there is one, into the width of a page."""
        columns = max(len(line) for row in rows for line in row.lines)
        map_columns = 2 if any(row.activation is not None for row in rows) else 0
        across = max(columns + map_columns, FEWEST)
        tile = (PAGE_WIDTH - 2 * EDGE - TEXT_LINE - GAP * across) / across
        left = EDGE + (TEXT_LINE + map_columns * (tile + GAP) if map_columns else 0)
        return cls(tile, min(max(aspect, FLATTEST), TALLEST), left, scales)

    @property
    def wide(self) -> float:
        """Width of the image and of the maps of groups: two tiles."""
        return 2 * self.tile + GAP

    @property
    def line(self) -> float:
        """Height of a line of prototypes."""
        return 2 * TEXT_LINE + self.tile + GAP / 2 + self.tile * self.aspect

    @property
    def header(self) -> float:
        """Height of the image with the legends beside it."""
        legends = 1.05 + TEXT_LINE * math.ceil(self.scales / LEGEND_COLUMNS)
        return max(self.wide * self.aspect, legends) + 2 * GAP

    def row(self, row: Row) -> float:
        """Return the height of a row."""
        wide = 0 if row.activation is None else self.wide * self.aspect + 2 * TEXT_LINE
        return TEXT_LINE + max(wide, self.line * len(row.lines)) + 2 * GAP


def groups_figure(decomposition: Decomposition, sample: Sample, index: int, scales: Sequence[str]) -> Figure:
    """Draw one class: a row per group (without groups: per scale), with its prototypes by decreasing weight.

    Args:
        decomposition: Decomposition of the sample.
        sample: The image; its pixels labeled as the class are outlined.
        index: Train id of a class with prototypes.
        scales: Names of the network's scales.

    Raises:
        UserError: If the stored crop of a training image is damaged.
    """
    drawing = _Drawing(decomposition, sample, index, scales)
    drawing.draw_header(short_name(decomposition.labels.names[index]), short_name(sample.name))
    drawing.draw_rows()
    return drawing.sheet.figure


class _Drawing:
    """The figure with what all its tiles have in common; arguments as for :func:`groups_figure`."""

    def __init__(self, decomposition: Decomposition, sample: Sample, index: int, scales: Sequence[str]) -> None:
        self.rows = rows_of(decomposition, index, scales)
        width, height = decomposition.image.size
        region = np.zeros((height, width), dtype=bool) if sample.mask is None else sample.mask == index
        red, green, blue = decomposition.labels.palette()[index] / 255
        activations = [row.activation for row in self.rows if row.activation is not None]
        self.decomposition, self.scales, self.colors = decomposition, scales, scale_colors(len(scales))
        self.backdrop = Backdrop.of(decomposition.image, region, (red, green, blue))
        self.similarity = Heat.of([decomposition.similarities[use.prototype] for row in self.rows for use in row.uses])
        self.activation = Heat.of(activations) if activations else None
        self.layout = Layout.of(self.rows, self.backdrop.aspect, len(scales))
        self.sheet = Sheet(PAGE_WIDTH, EDGE + self.layout.header + sum(map(self.layout.row, self.rows)))

    def draw_header(self, class_name: str, image_name: str) -> None:
        """Draw the image with the outline of the class, and the legends beside it."""
        sheet, layout = self.sheet, self.layout
        self.backdrop.draw(sheet.axes(EDGE, EDGE, layout.wide, layout.wide * layout.aspect))
        left = EDGE + layout.wide + GAP + TEXT_LINE
        sheet.square(left, EDGE + 0.02, 0.12, self.backdrop.color)
        sheet.text(left + 0.19, EDGE + 0.13, class_name, fontsize=10, weight="bold")
        outlined = "labeled pixels outlined" if self.backdrop.region.any() else "no labeled pixel"
        sheet.text(left, EDGE + 0.34, f"{image_name}: {outlined}")
        self._draw_color_keys(left)
        kind = "in the group" if self.decomposition.grouped else "for the class"
        sheet.text(left, EDGE + 0.97, f"bold: weight {kind}; box: region shown for the scale")
        sheet.figure.legend(
            [Patch(color=color) for color in self.colors], self.scales,
            loc="upper left", bbox_to_anchor=sheet.place(left, EDGE + 1.05), ncols=LEGEND_COLUMNS, borderpad=0,
            borderaxespad=0, handlelength=0.8, handleheight=0.8, columnspacing=1.2,
        )  # fmt: skip

    def draw_rows(self) -> None:
        """Draw all groups with their prototypes, one below the other."""
        y = EDGE + self.layout.header
        for row in self.rows:
            self._draw_row(row, y)
            y += self.layout.row(row)

    def _draw_color_keys(self, left: float) -> None:
        keys = {"similarity to a prototype": self.similarity}
        if self.activation is not None:
            keys = {"logarithm of a group's activation": self.activation} | keys
        for place, (meaning, heat) in enumerate(keys.items()):
            x = left + 2.2 * place
            self.sheet.text(x, EDGE + 0.56, meaning)
            heat.draw_key(self.sheet.axes(x, EDGE + 0.61, 1.8, 0.09))

    def _draw_row(self, row: Row, y: float) -> None:
        top = y + TEXT_LINE
        self.sheet.text(EDGE, top - 0.04, row.title, weight="bold")
        if row.activation is not None and self.activation is not None:
            self._draw_group_map(row.activation, self.activation, top + TEXT_LINE)
        for line in row.lines:
            for place, use in enumerate(line):
                self._draw_use(use, self.layout.left + place * (self.layout.tile + GAP), top)
            top += self.layout.line

    def _draw_group_map(self, activation: Tensor, heat: Heat, top: float) -> None:
        height = self.layout.wide * self.layout.aspect
        axes = self.sheet.axes(EDGE, top, self.layout.wide, height)
        self.backdrop.draw_map(axes, activation, heat)
        self.backdrop.draw_outline(axes, "white", 0.35)
        self.sheet.text(EDGE, top + height + 0.1, f"max {float(activation.max()):.2f}", color=MUTED, fontsize=6)

    def _draw_use(self, use: PrototypeUse, x: float, y: float) -> None:
        """Draw a prototype: its weight and scale, its training patch, its similarity on the image."""
        sheet, tile, height = self.sheet, self.layout.tile, self.layout.tile * self.layout.aspect
        scale = int(self.decomposition.prototype_scale[use.prototype])
        similarity = self.decomposition.similarities[use.prototype]
        right, patch, below = x + tile, y + TEXT_LINE, y + TEXT_LINE + tile + GAP / 2
        sheet.text(x, patch - 0.045, f"{use.weight:.2f}", weight="bold")
        if self.decomposition.grouped:
            sheet.text(right, patch - 0.045, self.scales[scale].partition(" (")[0], ha="right")
        draw_patch(sheet.axes(x, patch, tile, tile), use.source, self.colors[scale])
        self.backdrop.draw_map(sheet.axes(x, below, tile, height), similarity, self.similarity)
        sheet.text(x, below + height + 0.1, f"#{use.prototype}", color=MUTED, fontsize=6)
        sheet.text(
            right, below + height + 0.1, f"max {float(similarity.max()):.2f}", color=MUTED, fontsize=6, ha="right"
        )
