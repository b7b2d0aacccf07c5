"""Scores of explanations, as ``metrics.json`` holds them: where units point, and whether that is why."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.evaluation.ablation import Ablation, ablate
from scaleprotoseg.evaluation.bypass import explained_variance
from scaleprotoseg.evaluation.collapse import find_collapse
from scaleprotoseg.evaluation.misalignment import score_misalignment
from scaleprotoseg.evaluation.overlap import QUANTILES, overlap_by_kind, score_overlap
from scaleprotoseg.evaluation.purity import score_purity
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.part_options import PartOptions
from scaleprotoseg.model.parts import score_parts
from scaleprotoseg.model.units import activations_of, units_of

log = logging.getLogger(__name__)

Progress = Callable[[Iterable[int]], Iterable[int]]


def explanations(
    network: Network, dataset: SegmentationDataset, options: PartOptions, progress: Progress = iter
) -> tuple[dict[str, Any], npt.NDArray[np.float64]]:
    """Consistency, stability and overlap.

    Args:
        network: With prototypes, in eval mode.
        dataset: A labelled split.
        options: Which variant of consistency and stability.
        progress: Wraps the picture indices to show progress.

    Returns:
        ``consistency`` and ``stability`` of prototypes; ``parts`` with both of prototypes and of groups, and the
        options they were measured with; ``overlap`` by kind of pair and quantile. And the
        overlaps of every two prototypes, for :func:`faithfulness`.

    Raises:
        UserError: If the network has no prototypes, or a picture no mask.
    """
    units = units_of(network)
    maps_of = activations_of(network, units)
    parts = score_parts(maps_of, units, dataset, network.std, options, progress)
    overlaps = score_overlap(maps_of, units, dataset, progress)
    kinds = overlap_by_kind(units, overlaps)
    if parts and all(scores.scored == 0 for scores in parts):
        log.warning("no prototype's class shows a part: consistency and stability are not measured")
    by_level: dict[str, Any] = {"prototypes": None, "groups": None}
    by_level |= {level.level: asdict(scores) for level, scores in zip(units, parts or (), strict=False)}
    scores = {
        "consistency": parts[0].consistency if parts else None,
        "stability": parts[0].stability if parts else None,
        "parts": None if parts is None else asdict(options) | by_level,
        "overlap": {kind: dict(zip(map(str, QUANTILES), means, strict=True)) for kind, means in kinds.items()},
    }
    return scores, overlaps[0]


def faithfulness(
    network: Network, dataset: SegmentationDataset, overlaps: npt.NDArray[np.float64], progress: Progress = iter
) -> dict[str, Any]:
    """Whether explanations show what decided, and what of the model is of use.

    Args:
        network: With prototypes, in eval mode.
        dataset: A labelled split.
        overlaps: Of every two prototypes, from :func:`explanations`.
        progress: Wraps the picture indices to show progress.

    Returns:
        ``misalignment``, ``ablation`` (of groups, or of prototypes without groups), ``members`` (ablation of members),
        ``purity`` (means over prototypes), ``collapse`` and ``explained_variance``; see the functions of these names.

    Raises:
        UserError: If the network has no prototypes, or a picture no mask.
    """
    units, members = ablate(network, dataset, progress)
    purity = score_purity(network, dataset, progress=progress)
    return {
        "misalignment": asdict(score_misalignment(network, dataset, progress=progress)),
        "ablation": _summary(units),
        "members": None if members is None else _summary(members),
        "purity": {name: _mean(values) for name, values in asdict(purity).items()},
        "collapse": asdict(find_collapse(network, overlaps, units.flips)),
        "explained_variance": explained_variance(network, dataset, progress),
    }


def _summary(ablation: Ablation) -> dict[str, Any]:
    """Means over units; None where nothing was measured."""
    flips = ablation.flips[~np.isnan(ablation.flips)]
    return {
        "flips": float(flips.mean()) if flips.size else None,
        "largest_flips": float(flips.max()) if flips.size else None,
        "error": ablation.error,
        "agreement": ablation.agreement,
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
