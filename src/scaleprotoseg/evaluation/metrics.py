"""All scores of a model on a split, as ``metrics.json`` holds them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.data.registry import READERS
from scaleprotoseg.evaluation.segmentation import SegmentationScores, score_segmentation
from scaleprotoseg.evaluation.sparsity import sparsity
from scaleprotoseg.model.config import InputSize
from scaleprotoseg.model.network import Network

VERSIONED = ("scaleprotoseg", "torch", "torchvision", "timm", "lightning")


def measure(
    network: Network,
    dataset: SegmentationDataset,
    seed: int | None = None,
    paper: bool = True,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> dict[str, Any]:
    """Measures a model.

    Args:
        network: In eval mode.
        dataset: A labelled split.
        seed: Of the training, if known.
        paper: Whether to measure also at the paper's input size, where the paper has results on this data.
        progress: Wraps the picture indices to show progress.

    Returns:
        The content of ``metrics.json``: shares and IoU in 0-1; None for what was not measured. ``protocols`` holds the
        scores at ``native`` size (as ``predict`` reads pictures; the scores at the top) and as in the ``paper``, each
        with its ``input_size`` (None: the picture's own).
    """
    scores = score_segmentation(network, dataset, progress=progress)
    native = _protocol(network.config.input.size, scores)
    iou = {
        name: None if math.isnan(value) else value
        for name, value in zip(network.labels.names, scores.iou.tolist(), strict=True)
    }
    return {
        "method": network.method,
        "data": dataset.name,
        "split": dataset.split,
        "num_images": scores.num_images,
        "miou": native["miou"],
        "pixel_accuracy": native["pixel_accuracy"],
        "iou": iou,
        "protocols": {"native": native, "paper": _paper(network, dataset, native, progress) if paper else None},
        "consistency": None,
        "stability": None,
        "sparsity": asdict(sparsity(network)),
        "overlap": None,
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
    console.print(table)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
