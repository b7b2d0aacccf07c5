"""The figure on overlap: how much prototypes and groups of a class point at the same pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.evaluation.overlap import QUANTILES, overlap_by_kind, score_overlap
from scaleprotoseg.explanation.paper_figures.style import BLUE, COLUMN, GREEN, ORANGE, PALE, Sheet
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.units import activations_of, units_of

LINES = {
    "within_scale": ("within a scale", BLUE, "o"),
    "across_scales": ("across scales", ORANGE, "s"),
    "groups": ("groups", GREEN, "^"),
}
"""Name, colour and marker of each kind of pair."""

LEFT, RIGHT = 1.0, 0.15
"""Inches left and right of the axes."""

TABLE, LINE = 2.0, 0.13
"""Inches down to the table, and down each of its lines."""

FIRST, LAST = 78, 100
"""Percentiles at the ends of the axis."""


def measure_overlap(
    network: Network, dataset: SegmentationDataset, progress: Callable[[Iterable[int]], Iterable[int]] = iter
) -> dict[str, list[float | None]]:
    """Mean IoU of pairs at each of :data:`~scaleprotoseg.evaluation.overlap.QUANTILES`, by kind of pair.

    Raises:
        UserError: If the network has no prototypes, or a picture no mask.
    """
    units = units_of(network)
    return overlap_by_kind(units, score_overlap(activations_of(network, units), units, dataset, progress))


def overlap_figure(means: Mapping[str, Sequence[float | None]]) -> Figure:
    """Mean IoU against the percentile above which activations are on, with the values in a table beneath.

    Args:
        means: As :func:`measure_overlap` gives them; kinds without any value are left out.
    """
    shown = [kind for kind in LINES if any(value is not None for value in means.get(kind, ()))]
    percentiles = [100 * quantile for quantile in QUANTILES]
    sheet = Sheet(COLUMN, TABLE + LINE * len(shown) + 0.05)
    width = COLUMN - LEFT - RIGHT
    axes = sheet.axes(LEFT, 0.1, width, TABLE - 0.5)
    axes.spines[["left", "bottom"]].set_visible(True)
    two = "two prototypes\nor two groups of" if "groups" in shown else "two\nprototypes of"
    axes.set(xlim=(FIRST, LAST), ylabel=f"mean IoU of {two} a class")
    axes.set_xticks(percentiles, [f"{percentile:g}" for percentile in percentiles])
    axes.set_xlabel("percentile above which an activation is on", labelpad=1)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color=PALE, alpha=0.25, linewidth=0.5)
    for place, kind in enumerate(shown):
        name, color, marker = LINES[kind]
        style: dict[str, Any] = {"color": color, "marker": marker, "markersize": 3.5, "linewidth": 1.2}
        values = means[kind]
        axes.plot(percentiles, [np.nan if value is None else value for value in values], clip_on=False, **style)
        y = TABLE + LINE * (place + 0.5)
        (left, height), (right, _) = sheet.place(0.05, y), sheet.place(0.23, y)
        key = Line2D([left, (left + right) / 2, right], [height] * 3, markevery=[1], **style)
        sheet.figure.add_artist(key)
        sheet.text(0.28, y, name, va="center")
        for percentile, value in zip(percentiles, values, strict=True):
            x = LEFT + width * (percentile - FIRST) / (LAST - FIRST)
            sheet.text(x, y, "–" if value is None else f"{value:.3f}", va="center", ha="center")
    axes.set_ylim(bottom=0)
    if not shown:
        axes.text(0.5, 0.5, "no class has two to compare", transform=axes.transAxes, ha="center", color=PALE)
    return sheet.figure
