"""Collapse: prototypes that are alike, prototypes nobody uses, groups that decide nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scaleprotoseg.evaluation.overlap import QUANTILES
from scaleprotoseg.model.groups import GroupHead
from scaleprotoseg.model.inference import require_prototypes, used_prototypes
from scaleprotoseg.model.network import Network

QUANTILE = 0.95
"""Activations above it are compared, to find duplicates."""

ALIKE = 0.9
"""Prototypes that overlap by more are duplicates."""


@dataclass(frozen=True)
class Collapse:
    """What a model could do without, by index over all of its prototypes or groups.

    Attributes:
        duplicates: Pairs of prototypes in use, of one class and one scale, that point at the same pixels.
        unused: Prototypes that no group uses (without groups, no class).
        dead_groups: Groups without which no cell gets another class; None without groups.
    """

    duplicates: tuple[tuple[int, int], ...]
    unused: tuple[int, ...]
    dead_groups: tuple[int, ...] | None


def find_collapse(network: Network, overlaps: npt.NDArray[np.float64], flips: npt.NDArray[np.float64]) -> Collapse:
    """Reads what has collapsed from scores that are known already.

    Args:
        network: What was scored.
        overlaps: (len(QUANTILES), U, U) of its prototypes in use, from
            :func:`~scaleprotoseg.evaluation.overlap.score_overlap`.
        flips: (G,) of its groups, from :func:`~scaleprotoseg.evaluation.ablation.ablate`; not looked at without groups.

    Raises:
        UserError: If the network has no prototypes.
    """
    head = require_prototypes(network)
    used = used_prototypes(network)
    scale = head.prototypes.prototype_scale.cpu()[used].numpy()
    duplicates = duplicates_of(overlaps[QUANTILES.index(QUANTILE)], used.numpy(), scale)
    unused = sorted(set(range(len(head.prototypes))) - set(used.tolist()))
    dead = tuple(np.flatnonzero(flips == 0).tolist()) if isinstance(head, GroupHead) else None
    return Collapse(duplicates, tuple(unused), dead)


def duplicates_of(
    overlap: npt.NDArray[np.float64], index: npt.NDArray[np.int64], scale: npt.NDArray[np.int64]
) -> tuple[tuple[int, int], ...]:
    """Pairs of prototypes of one class and one scale that overlap by more than ``ALIKE``.

    Args:
        overlap: (U, U) mean IoU of every two prototypes, NaN where they were never compared.
        index: (U,) place of each among all of the model's.
        scale: (U,) scale of each.

    Returns:
        Pairs of indices, the smaller first.
    """
    alike = np.triu((overlap > ALIKE) & (scale == scale[:, None]), k=1)
    return tuple((int(index[first]), int(index[second])) for first, second in np.argwhere(alike))
