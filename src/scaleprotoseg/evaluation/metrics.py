"""All scores of a model on a split, as ``metrics.json`` holds them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.data.registry import READERS
from scaleprotoseg.evaluation.interpretability import explanations, faithfulness
from scaleprotoseg.evaluation.segmentation import SegmentationScores, score_segmentation
from scaleprotoseg.evaluation.sparsity import sparsity
from scaleprotoseg.model.config import InputSize
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.part_options import PAPER, PartOptions

Scores = Literal["segmentation", "explanations", "all"]
"""How much is measured: the segmentation; also where prototypes and groups point; also whether that is what decided."""

VERSIONED = ("scaleprotoseg", "torch", "torchvision", "timm", "lightning")


def measure(
    network: Network,
    dataset: SegmentationDataset,
    seed: int | None = None,
    scores: Scores = "explanations",
    options: PartOptions = PAPER,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> dict[str, Any]:
    """Measures a model.

    Args:
        network: In eval mode.
        dataset: A labelled split.
        seed: Of the training, if known.
        scores: How much to measure. More than ``segmentation`` is also measured at the paper's input size, where the
            paper has results on this data.
        options: Variant of consistency and stability.
        progress: Wraps the picture indices to show progress.

    Returns:
        The content of ``metrics.json``: shares and IoU in 0-1; None for what was not measured. ``consistency``,
        ``stability``, ``parts`` and ``overlap`` are those of
        :func:`~scaleprotoseg.evaluation.interpretability.explanations`, ``faithfulness`` of the function of this name.
        ``protocols`` holds the scores at ``native`` size (as ``predict`` reads pictures; the scores at the top) and as
        in the ``paper``, each with its ``input_size`` (None: the picture's own).
    """
    segmentation = score_segmentation(network, dataset, progress=progress)
    native = _protocol(network.config.input.size, segmentation)
    iou = {
        name: None if math.isnan(value) else value
        for name, value in zip(network.labels.names, segmentation.iou.tolist(), strict=True)
    }
    explained = dict.fromkeys(("consistency", "stability", "parts", "overlap", "faithfulness"))
    if scores != "segmentation" and network.prototypes is not None:
        found, overlaps = explanations(network, dataset, options, progress)
        explained |= found
        if scores == "all":
            explained["faithfulness"] = faithfulness(network, dataset, overlaps, progress)
    paper = None if scores == "segmentation" else _paper(network, dataset, native, progress)
    return {
        "method": network.method,
        "data": dataset.name,
        "split": dataset.split,
        "num_images": segmentation.num_images,
        "miou": native["miou"],
        "pixel_accuracy": native["pixel_accuracy"],
        "iou": iou,
        "protocols": {"native": native, "paper": paper},
        "sparsity": asdict(sparsity(network)),
        **explained,
        "seed": seed,
        "versions": {name: version(name) for name in VERSIONED},
    }


def _paper(
    network: Network,
    dataset: SegmentationDataset,
    native: dict[str, Any],
    progress: Callable[[Iterable[int]], Iterable[int]],
) -> dict[str, Any] | None:
    """The scores at the paper's input size (section 4.1).

    None if the paper has none on this data, or the network reads pictures at a size of its own.
    """
    reader = READERS.get(dataset.name)
    if reader is None or not reader.paper or network.config.input.size is not None:
        return None
    if reader.paper_size is None:
        return native
    return _protocol(reader.paper_size, score_segmentation(network, dataset, reader.paper_size, progress))


def _protocol(size: InputSize, scores: SegmentationScores) -> dict[str, Any]:
    shares = {"miou": scores.miou, "pixel_accuracy": scores.pixel_accuracy}
    return {"input_size": size} | {name: None if math.isnan(value) else value for name, value in shares.items()}


def render(metrics: dict[str, Any], console: Console) -> None:
    """Prints the scores as a table."""
    where = f"{metrics['method']} on {metrics['data']} ({metrics['split']}, {metrics['num_images']} pictures)"
    table = Table(title=escape(where), title_justify="left")
    table.add_column("class")
    table.add_column("IoU", justify="right")
    for name, value in metrics["iou"].items():
        table.add_row(escape(name), _share(value))
    table.add_section()
    table.add_row("mean IoU", _share(metrics["miou"]), style="bold")
    table.add_row("pixel accuracy", _share(metrics["pixel_accuracy"]))
    paper = metrics["protocols"]["paper"]
    if paper is not None:
        table.add_row("mean IoU at the paper's input size", _share(paper["miou"]))
    counts = metrics["sparsity"]
    if counts["prototypes_total"] is not None:
        table.add_row("prototypes used", f"{counts['prototypes_used']} of {counts['prototypes_total']}")
    if counts["members_per_group"] is not None:
        table.add_row("members per group", f"{counts['members_per_group']:.2f}")
    for name in ("consistency", "stability"):
        if metrics[name] is not None:
            table.add_row(f"{name} of prototypes", _share(metrics[name]))
    console.print(table)
    if metrics["faithfulness"] is not None:
        console.print(_faithfulness(metrics["faithfulness"]))


def _faithfulness(scores: dict[str, Any]) -> Table:
    """Whether explanations show what decided."""
    table = Table(title="do explanations show what decided?", title_justify="left", show_header=False)
    misalignment = scores["misalignment"]["overall"]
    collapse = scores["collapse"]
    dead = collapse["dead_groups"]
    rows = {
        "similarity left with only the region shown": _share(misalignment["inside"]),
        "similarity left without it": _share(misalignment["outside"]),
        "share of the picture shown": _share(misalignment["area"]),
        "cells that change class without a unit, mean": _share(scores["ablation"]["flips"]),
        "rank correlation of that with what it was credited": _share(scores["ablation"]["agreement"]),
        "nearest patches of the prototype's class": _share(scores["purity"]["classes"]),
        "nearest patches of one part": _share(scores["purity"]["parts"]),
        "duplicate pairs, unused prototypes, dead groups": f"{len(collapse['duplicates'])}, {len(collapse['unused'])}, "
        + ("-" if dead is None else str(len(dead))),
        "variance of the scores that prototypes explain": _share(scores["explained_variance"]),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
