"""Collapse: duplicate prototypes, unused prototypes, and groups without influence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scaleprotoseg.evaluation.ablation import both_ablations
from scaleprotoseg.evaluation.context import Context
from scaleprotoseg.evaluation.overlap import QUANTILES, unit_overlaps
from scaleprotoseg.model.network import Network

DUPLICATE_QUANTILE = 0.95
"""Quantile of the activations at which duplicates are compared; one of :data:`QUANTILES`."""

DUPLICATE_IOU = 0.9
"""Mean IoU above which two prototypes are duplicates."""


@dataclass(frozen=True)
class Collapse:
    """Prototypes and groups that a model does not need, by their indices among all of its prototypes or groups.

    Attributes:
        duplicates: Pairs of prototypes in use, of the same class and scale, that respond to the same pixels.
        unused: Prototypes without a weight in any group (without groups, for any class).
        dead_groups: Groups whose removal changes the class of no cell; None without groups.
    """

    duplicates: tuple[tuple[int, int], ...]
    unused: tuple[int, ...]
    dead_groups: tuple[int, ...] | None


def collapse(context: Context) -> dict[str, Any]:
    """Compute the :func:`find_collapse` of a model."""
    units, _ = context.once(both_ablations)
    return asdict(find_collapse(context.network, context.once(unit_overlaps)[0], units.flips))


def find_collapse(network: Network, overlaps: npt.NDArray[np.float64], flips: npt.NDArray[np.float64]) -> Collapse:
    """Find what has collapsed, from scores that were computed before.

    Args:
        network: The network that was scored.
        overlaps: (len(QUANTILES), U, U) overlaps of its prototypes in use, from
            :func:`~scaleprotoseg.evaluation.overlap.score_overlap`.
        flips: (G,) flips of its groups, from :func:`~scaleprotoseg.evaluation.ablation.ablate`; ignored without groups.

    Raises:
        UserError: If the network has no prototypes.
    """
    head = network.prototype_head
    used = head.used_prototypes()
    scale = head.prototypes.prototype_scale.cpu()[used].numpy()
    duplicates = duplicates_of(overlaps[QUANTILES.index(DUPLICATE_QUANTILE)], used.numpy(), scale)
    unused = sorted(set(range(len(head.prototypes))) - set(used.tolist()))
    dead = tuple(np.flatnonzero(flips == 0).tolist()) if head.level == "groups" else None
    return Collapse(duplicates, tuple(unused), dead)


def duplicates_of(
    overlap: npt.NDArray[np.float64], index: npt.NDArray[np.int64], scale: npt.NDArray[np.int64]
) -> tuple[tuple[int, int], ...]:
    """Find the pairs of prototypes of the same class and scale whose overlap is above ``DUPLICATE_IOU``.

    Args:
        overlap: (U, U) mean IoU of every two prototypes; NaN for pairs that were not compared, as those of two classes.
        index: (U,) index of each prototype among all of the model's.
        scale: (U,) scale of each prototype.

    Returns:
        Pairs of indices, the smaller one first.

    Example:
        >>> overlap = np.array([[np.nan, 0.95, 0.2], [0.95, np.nan, 0.99], [0.2, 0.99, np.nan]])
        >>> duplicates_of(overlap, index=np.array([4, 5, 7]), scale=np.array([0, 0, 1]))
        ((4, 5),)
    """
    is_duplicate = np.triu((overlap > DUPLICATE_IOU) & (scale == scale[:, None]), k=1)
    return tuple((int(index[first]), int(index[second])) for first, second in np.argwhere(is_duplicate))
