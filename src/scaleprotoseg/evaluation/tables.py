"""Metrics as tables in the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scaleprotoseg.evaluation.metrics import Metrics


def render(metrics: Metrics, console: Console) -> None:
    """Print the metrics of a model as a table, and those of its explanations as a second one."""
    title = f"{metrics.method} on {metrics.data} ({metrics.split}, {metrics.num_images} images)"
    table = Table(title=escape(title), title_justify="left")
    table.add_column("class")
    table.add_column("IoU", justify="right")
    for name, value in metrics.iou.items():
        table.add_row(escape(name), _fraction(value))
    table.add_section()
    table.add_row("mean IoU", _fraction(metrics.miou), style="bold")
    table.add_row("pixel accuracy", _fraction(metrics.pixel_accuracy))
    if metrics.protocols.paper is not None:
        table.add_row("mean IoU at the paper's input size", _fraction(metrics.protocols.paper.miou))
    if metrics.black_box is not None:
        table.add_row("mean IoU of the black box", _fraction(metrics.black_box.miou))
    counts = metrics.sparsity
    if counts.prototypes_total is not None:
        table.add_row("prototypes used", f"{counts.prototypes_used} of {counts.prototypes_total}")
    if counts.members_per_group is not None:
        table.add_row("members per group", f"{counts.members_per_group:.2f}")
    for name, value in (("consistency", metrics.consistency), ("stability", metrics.stability)):
        if value is not None:
            table.add_row(f"{name} of prototypes", _fraction(value))
    console.print(table)
    if metrics.faithfulness is not None:
        console.print(_faithfulness(metrics.faithfulness))


def _faithfulness(scores: dict[str, Any]) -> Table:
    table = Table(title="faithfulness of the explanations", title_justify="left", show_header=False)
    misalignment, collapse = scores["misalignment"]["overall"], scores["collapse"]
    dead = collapse["dead_groups"]
    counts = len(collapse["duplicates"]), len(collapse["unused"]), "-" if dead is None else len(dead)
    rows = {
        "similarity left if only the region shown is visible": _fraction(misalignment["inside"]),
        "similarity left if the region shown is masked": _fraction(misalignment["outside"]),
        "fraction of the image shown": _fraction(misalignment["area"]),
        "cells that change class without a unit, mean": _fraction(scores["ablation"]["flips"]),
        "rank correlation of that with the credited contribution": _fraction(scores["ablation"]["agreement"]),
        "nearest patches of the prototype's class": _fraction(scores["purity"]["classes"]),
        "nearest patches of the same object part": _fraction(scores["purity"]["parts"]),
        "duplicate pairs, unused prototypes, dead groups": ", ".join(map(str, counts)),
        "variance of the logits explained by prototypes": _fraction(scores["explained_variance"]),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
