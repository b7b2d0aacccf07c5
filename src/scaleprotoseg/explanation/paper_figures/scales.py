"""The figure on scales: how much each class draws on each scale."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from scaleprotoseg.explanation.paper_figures.style import COLUMN, INK, scale_colors, scale_names, short_name
from scaleprotoseg.model.groups import GroupHead
from scaleprotoseg.model.inference import require_prototypes, used_prototypes
from scaleprotoseg.model.network import Network

BAR = 0.19
"""Height that a class takes, in inches."""

BRIGHTNESS = (0.299, 0.587, 0.114)
"""What red, green and blue add to the brightness of a colour."""

READABLE = 0.1
"""Shares from here on are written into their part of the bar."""


def scale_usage(network: Network) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """How much each class draws on each scale.

    Returns:
        (C, S) share of the weights in a class's groups (of its prototypes, in a model without groups) that lies on
        each scale, 0 for a class without prototypes; (C,) number of prototypes in use.

    Raises:
        UserError: If the network has no prototypes.
    """
    head = require_prototypes(network)
    layer, used = head.prototypes, used_prototypes(network)
    classes, scales = layer.prototype_class.cpu()[used], layer.prototype_scale.cpu()[used]
    weights = head.dense_weights().sum(dim=0).cpu()[used] if isinstance(head, GroupHead) else torch.ones(len(used))
    usage = torch.zeros(len(network.labels), layer.num_scales, dtype=torch.double)
    usage.index_put_((classes, scales), weights.double(), accumulate=True)
    shares = torch.nan_to_num(usage / usage.sum(dim=1, keepdim=True))
    return shares.numpy(), torch.bincount(classes, minlength=len(network.labels)).numpy()


def scales_figure(network: Network) -> Figure:
    """A bar a class, divided among the scales, with the number of its prototypes at its end.

    Raises:
        UserError: If the network has no prototypes.
    """
    shares, counts = scale_usage(network)
    places, labels = np.arange(len(counts)), network.labels
    figure = Figure((COLUMN, 0.85 + BAR * len(counts)), layout="constrained")
    axes = figure.add_subplot(xlim=(0, 1), ylim=(len(counts) - 0.4, -0.6))
    axes.barh(places, 0.02, 0.75, -0.03, color=labels.palette()[places] / 255, clip_on=False)
    start = np.zeros(len(counts))
    for share, color in zip(shares.T, scale_colors(shares.shape[1]), strict=True):
        axes.barh(places, share, 0.75, start, color=color, edgecolor="white", linewidth=0.5)
        for place in np.flatnonzero(share >= READABLE).tolist():
            ink = "white" if np.dot(color, BRIGHTNESS) < 0.45 else INK
            middle = start[place] + share[place] / 2
            axes.text(middle, place, f"{100 * share[place]:.0f}", ha="center", va="center_baseline", color=ink)
        start += share
    for place, number in enumerate(counts.tolist()):
        axes.text(1.08, place, str(number), ha="right", va="center_baseline")
    axes.text(1.08, -0.8, "prototypes in use", ha="right")
    axes.set_yticks(places, [short_name(name) for name in labels.names])
    axes.tick_params(axis="y", length=0, pad=7)
    axes.spines["left"].set_visible(False)
    axes.set_xticks(np.linspace(0, 1, 5), ["0", "25", "50", "75", "100"])
    grouped = isinstance(network.head, GroupHead)
    axes.set_xlabel(f"share of the {'weights in groups' if grouped else 'prototypes'} (%)", labelpad=1)
    squares = [Patch(color=color) for color in scale_colors(shares.shape[1])]
    figure.legend(
        squares, scale_names(network), loc="outside upper center", ncols=2, handlelength=0.7, handleheight=0.7
    )
    return figure
