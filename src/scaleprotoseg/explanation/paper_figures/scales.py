"""The figure on scales: how much of each class's weights lies on each scale."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from scaleprotoseg.explanation.paper_figures.style import COLUMN_WIDTH, INK, scale_colors, scale_names, short_name
from scaleprotoseg.model.network import Network

BAR_HEIGHT = 0.19
"""Height of a class with its bar, in inches."""

BRIGHTNESS = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness of a color."""

READABLE = 0.1
"""Smallest fraction of a bar that is labeled with its percentage."""


def scale_usage(network: Network) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Compute how each class distributes its weights over the scales.

    Returns:
        (C, S) fraction of the weights in a class's groups (of its prototypes, in a model without groups) on each scale,
        0 for a class without prototypes; (C,) number of prototypes in use.

    Raises:
        UserError: If the network has no prototypes.
    """
    head = network.prototype_head
    layer, used = head.prototypes, head.used_prototypes()
    classes, scales = layer.prototype_class.cpu()[used], layer.prototype_scale.cpu()[used]
    weights = head.unit_weights().sum(dim=0).cpu()[used]
    usage = torch.zeros(len(network.labels), layer.num_scales, dtype=torch.double)
    usage.index_put_((classes, scales), weights.double(), accumulate=True)
    fractions = torch.nan_to_num(usage / usage.sum(dim=1, keepdim=True))
    return fractions.numpy(), torch.bincount(classes, minlength=len(network.labels)).numpy()


def scales_figure(network: Network) -> Figure:
    """Draw one bar per class, divided by scale, with the number of prototypes in use at its end.

    Raises:
        UserError: If the network has no prototypes.
    """
    fractions, counts = scale_usage(network)
    rows, labels = np.arange(len(counts)), network.labels
    figure = Figure((COLUMN_WIDTH, 0.85 + BAR_HEIGHT * len(counts)), layout="constrained")
    axes = figure.add_subplot(xlim=(0, 1), ylim=(len(counts) - 0.4, -0.6))
    axes.barh(rows, 0.02, 0.75, -0.03, color=labels.palette()[rows] / 255, clip_on=False)
    _draw_bars(axes, fractions)
    for row, number in enumerate(counts.tolist()):
        axes.text(1.08, row, str(number), ha="right", va="center_baseline")
    axes.text(1.08, -0.8, "prototypes in use", ha="right")
    axes.set_yticks(rows, [short_name(name) for name in labels.names])
    axes.tick_params(axis="y", length=0, pad=7)
    axes.spines["left"].set_visible(False)
    axes.set_xticks(np.linspace(0, 1, 5), ["0", "25", "50", "75", "100"])
    grouped = network.prototype_head.level == "groups"
    axes.set_xlabel(f"percentage of the {'weights in groups' if grouped else 'prototypes'}", labelpad=1)
    squares = [Patch(color=color) for color in scale_colors(fractions.shape[1])]
    figure.legend(
        squares, scale_names(network), loc="outside upper center", ncols=2, handlelength=0.7, handleheight=0.7
    )
    return figure


def _draw_bars(axes: Axes, fractions: npt.NDArray[np.float64]) -> None:
    """Draw the (C, S) fractions as one stacked bar per class, with percentages where there is space for them."""
    start = np.zeros(len(fractions))
    for column, color in zip(fractions.T, scale_colors(fractions.shape[1]), strict=True):
        axes.barh(np.arange(len(column)), column, 0.75, start, color=color, edgecolor="white", linewidth=0.5)
        for row in np.flatnonzero(column >= READABLE).tolist():
            ink = "white" if np.dot(color, BRIGHTNESS) < 0.45 else INK
            middle = start[row] + column[row] / 2
            axes.text(middle, row, f"{100 * column[row]:.0f}", ha="center", va="center_baseline", color=ink)
        start += column
