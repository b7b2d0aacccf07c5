"""The figure on overlap: how much the prototypes and the groups of a class point at the same pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.evaluation.context import Context
from scaleprotoseg.evaluation.overlap import QUANTILES, overlap_by_kind, unit_overlaps
from scaleprotoseg.explanation.paper_figures.style import BLUE, COLUMN_WIDTH, GREEN, MUTED, ORANGE, Sheet
from scaleprotoseg.inference.units import units_of
from scaleprotoseg.model.network import Network
from scaleprotoseg.progress import Progress

KINDS = {
    "within_scale": ("within a scale", BLUE, "o"),
    "across_scales": ("across scales", ORANGE, "s"),
    "groups": ("groups", GREEN, "^"),
}
"""Name, color and marker of each kind of pair."""

PERCENTILES = [100 * quantile for quantile in QUANTILES]
"""Percentiles above which an activation is on."""

LEFT, RIGHT = 1.0, 0.15
"""Margins left and right of the axes, in inches."""

TABLE_TOP, TABLE_LINE = 2.0, 0.13
"""Distance of the table from the top of the figure, and height of its lines, in inches."""

FIRST, LAST = 78, 100
"""Percentiles at the ends of the x axis."""


def measure_overlap(
    network: Network, dataset: SegmentationDataset, progress: Progress = iter
) -> dict[str, list[float | None]]:
    """Compute the mean IoU of pairs at each quantile in :data:`QUANTILES`, by kind of pair.

    Raises:
        UserError: If the network has no prototypes, or an image no mask.
    """
    overlaps = unit_overlaps(Context(network, dataset, progress=progress))
    return overlap_by_kind(units_of(network), overlaps)


def overlap_figure(means: Mapping[str, Sequence[float | None]]) -> Figure:
    """Draw the mean IoU over the percentile above which an activation is on, with a table of the values below.

    Args:
        means: Values as returned by :func:`measure_overlap`; kinds without any value are left out.
    """
    shown = [kind for kind in KINDS if any(value is not None for value in means.get(kind, ()))]
    sheet = Sheet(COLUMN_WIDTH, TABLE_TOP + TABLE_LINE * len(shown) + 0.05)
    axes = _axes(sheet, "groups" in shown)
    for line, kind in enumerate(shown):
        name, color, marker = KINDS[kind]
        style: dict[str, Any] = {"color": color, "marker": marker, "markersize": 3.5, "linewidth": 1.2}
        axes.plot(PERCENTILES, [np.nan if value is None else value for value in means[kind]], clip_on=False, **style)
        _draw_table_line(sheet, TABLE_TOP + TABLE_LINE * (line + 0.5), name, means[kind], style)
    axes.set_ylim(bottom=0)
    if not shown:
        axes.text(0.5, 0.5, "no class has two prototypes", transform=axes.transAxes, ha="center", color=MUTED)
    return sheet.figure


def _axes(sheet: Sheet, grouped: bool) -> Axes:
    axes = sheet.axes(LEFT, 0.1, COLUMN_WIDTH - LEFT - RIGHT, TABLE_TOP - 0.5)
    axes.spines[["left", "bottom"]].set_visible(True)
    pair = "two prototypes\nor two groups of" if grouped else "two\nprototypes of"
    axes.set(xlim=(FIRST, LAST), ylabel=f"mean IoU of {pair} a class")
    axes.set_xticks(PERCENTILES, [f"{percentile:g}" for percentile in PERCENTILES])
    axes.set_xlabel("percentile above which an activation is on", labelpad=1)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color=MUTED, alpha=0.25, linewidth=0.5)
    return axes


def _draw_table_line(
    sheet: Sheet, y: float, name: str, values: Sequence[float | None], style: Mapping[str, Any]
) -> None:
    """Draw the key and the name of a kind of pair, and each value below its percentile."""
    (left, height), (right, _) = sheet.place(0.05, y), sheet.place(0.23, y)
    sheet.figure.add_artist(Line2D([left, (left + right) / 2, right], [height] * 3, markevery=[1], **style))
    sheet.text(0.28, y, name, va="center")
    for percentile, value in zip(PERCENTILES, values, strict=True):
        x = LEFT + (COLUMN_WIDTH - LEFT - RIGHT) * (percentile - FIRST) / (LAST - FIRST)
        sheet.text(x, y, "–" if value is None else f"{value:.3f}", va="center", ha="center")
