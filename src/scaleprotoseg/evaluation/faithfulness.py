"""Faithfulness: scores that tell whether an explanation shows what the decision is based on.

A new score is one file with a function that takes a :class:`~scaleprotoseg.evaluation.context.Context` and returns JSON
values, and one line in :data:`SCORES`.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any

from scaleprotoseg.evaluation.context import Context

SCORES: dict[str, str] = {
    "misalignment": "scaleprotoseg.evaluation.misalignment:misalignment",
    "ablation": "scaleprotoseg.evaluation.ablation:unit_ablation",
    "members": "scaleprotoseg.evaluation.ablation:member_ablation",
    "purity": "scaleprotoseg.evaluation.purity:purity",
    "collapse": "scaleprotoseg.evaluation.collapse:collapse",
    "explained_variance": "scaleprotoseg.evaluation.bypass:bypass",
}
"""Scores by their key in ``metrics.json``."""


def faithfulness(context: Context) -> dict[str, Any]:
    """Compute all scores.

    Args:
        context: A model with prototypes and a labeled split.

    Raises:
        UserError: If the network has no prototypes, or an image has no mask.
    """
    return {name: resolve_name(path)(context) for name, path in SCORES.items()}
