"""Scores of where prototypes and groups respond: consistency, stability and overlap."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from scaleprotoseg.evaluation.context import Context
from scaleprotoseg.evaluation.overlap import QUANTILES, overlap_by_kind, unit_overlaps
from scaleprotoseg.inference.part_scores import score_parts
from scaleprotoseg.inference.units import activations_of, units_of

log = logging.getLogger(__name__)


def interpretability(context: Context) -> dict[str, Any]:
    """Compute consistency, stability and overlap.

    Args:
        context: A model with prototypes and a labeled split.

    Returns:
        ``consistency`` and ``stability`` of prototypes; ``parts`` with both scores of prototypes and of groups, and the
        options they were measured with; ``overlap`` by kind of pair and quantile.

    Raises:
        UserError: If the network has no prototypes, or an image has no mask.
    """
    network, dataset = context.network, context.dataset
    units = units_of(network)
    maps_of = activations_of(network, units)
    parts = score_parts(maps_of, units, dataset, network.std, context.options, context.progress)
    kinds = overlap_by_kind(units, context.once(unit_overlaps))
    if parts and all(scores.scored == 0 for scores in parts):
        log.warning("no prototype's class has an annotated part: consistency and stability are not measured")
    by_level: dict[str, Any] = {"prototypes": None, "groups": None}
    by_level |= {level.level: asdict(scores) for level, scores in zip(units, parts or (), strict=False)}
    return {
        "consistency": parts[0].consistency if parts else None,
        "stability": parts[0].stability if parts else None,
        "parts": None if parts is None else asdict(context.options) | by_level,
        "overlap": {kind: dict(zip(map(str, QUANTILES), means, strict=True)) for kind, means in kinds.items()},
    }
