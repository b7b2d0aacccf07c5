"""A score of explanations."""

from __future__ import annotations

from scaleprotoseg.evaluation.context import Context


def prototypes_per_scale(context: Context) -> list[int]:
    """Count the prototypes of each scale."""
    layer = context.network.prototype_head.prototypes
    return [int((layer.prototype_scale == scale).sum()) for scale in range(layer.num_scales)]
