"""The report on a model: its quality, its classes and prototypes, and its decisions on a few images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from scaleprotoseg.data.dataset import Sample
from scaleprotoseg.evaluation.metrics import fraction_kept
from scaleprotoseg.evaluation.sparsity import sparsity
from scaleprotoseg.explanation.class_cards import class_cards
from scaleprotoseg.explanation.decomposition import Decomposition, decompose
from scaleprotoseg.explanation.html import write_html
from scaleprotoseg.explanation.patches import reaches
from scaleprotoseg.explanation.report_examples import build_examples
from scaleprotoseg.explanation.worked_example import worked_example
from scaleprotoseg.model.network import Network

BLANK = Image.new("RGB", (64, 64))
"""Image to decompose for the prototypes and weights of the model, if there are no examples."""


def write_report(
    network: Network, path: str | Path, metrics: dict[str, Any] | None, examples: Sequence[Sample]
) -> None:
    """Write the report on a model as one self-contained HTML file.

    Args:
        network: Network in eval mode, with or without prototypes.
        path: HTML file to write; an existing file is replaced.
        metrics: Content of ``metrics.json``; missing values and None are shown as not measured. If it holds scores of a
            ``black_box``, they are shown beside those of the model.
        examples: A few images to explain, with or without labels.

    Raises:
        UserError: If the file cannot be written.
    """
    metrics = metrics or {}
    shown, images = build_examples(network, examples)
    model = _any_decomposition(network, [image.decomposition for image in images])
    write_html(
        path,
        "report.html.j2",
        model,
        images,
        labels=network.labels,
        method=network.method,
        scale_count=network.pyramid.num_scales,
        metrics=metrics,
        kept=fraction_kept(metrics),
        overlap=list(_leaves(metrics.get("overlap"))),
        sparsity=_counts(network, metrics),
        cards=[] if model is None else class_cards(model),
        regions=[] if model is None else _region_widths(model, bool(images)),
        worked=worked_example(images),
        examples=shown,
    )


def _any_decomposition(network: Network, known: Sequence[Decomposition]) -> Decomposition | None:
    """Return a decomposition for the prototypes and weights of the model; None if it has no prototypes."""
    if network.prototypes is None:
        return None
    return known[0] if known else decompose(network, BLANK)


def _counts(network: Network, metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of prototypes and members as measured, or those of the network where they are missing."""
    measured = {key: value for key, value in (metrics.get("sparsity") or {}).items() if value is not None}
    return asdict(sparsity(network)) | measured


def _leaves(values: Any, name: str = "") -> Iterator[tuple[str, float | None]]:
    """Yield the numbers in nested dicts, each with the keys that lead to it."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _leaves(value, f"{name}, {key}".strip(", "))
    elif name and (values is None or isinstance(values, (int, float))):
        yield name.replace("_", " "), values


def _region_widths(model: Decomposition, real: bool) -> list[int | None]:
    """Return the width of the region shown for each scale, in pixels of the first image; None where unknown.

    Args:
        model: Decomposition of the first image.
        real: True if this is an image of the report, and not the blank one.
    """
    pixels = model.image.width / model.logits.shape[-1]
    return [round((2 * reach + 1) * pixels) if real and reach is not None else None for reach in reaches(model)]
