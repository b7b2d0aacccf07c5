"""How much a model uses: prototypes and members, counted."""

from __future__ import annotations

from dataclasses import dataclass

from scaleprotoseg.model.groups import GroupHead
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.prototypes import PrototypeHead


@dataclass(frozen=True)
class Sparsity:
    """What an explanation is made of (paper, section 4.2); None where a model has no such thing.

    Attributes:
        prototypes_used: Prototypes with a weight in a group; without groups, all.
        prototypes_total: Prototypes in the model.
        members_per_group: Mean number of prototypes with a weight in a group.
        prototypes_per_class: ``prototypes_used`` over the number of classes.
    """

    prototypes_used: int | None
    prototypes_total: int | None
    members_per_group: float | None
    prototypes_per_class: float | None


def sparsity(network: Network) -> Sparsity:
    """Counts the used prototypes and the members of groups."""
    head = network.head
    if isinstance(head, GroupHead):
        weights = head.dense_weights() > 0
        used = int(weights.any(dim=0).sum())
        return Sparsity(
            used, len(head.prototypes), float(weights.sum(dim=1).float().mean()), used / len(network.labels)
        )
    if isinstance(head, PrototypeHead):
        count = len(head.prototypes)
        return Sparsity(count, count, None, count / len(network.labels))
    return Sparsity(None, None, None, None)
