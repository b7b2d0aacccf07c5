"""Sparsity: the number of prototypes and group members that a model uses."""

from __future__ import annotations

from dataclasses import dataclass

from scaleprotoseg.model.network import Network


@dataclass(frozen=True)
class Sparsity:
    """Numbers of prototypes and members (paper, section 4.2); None for a model without prototypes or groups.

    Attributes:
        prototypes_used: Prototypes with a weight in a group; without groups, with a weight for a class.
        prototypes_total: Prototypes in the model.
        members_per_group: Mean number of prototypes with a weight in a group.
        prototypes_per_class: ``prototypes_used`` divided by the number of classes.
    """

    prototypes_used: int | None
    prototypes_total: int | None
    members_per_group: float | None
    prototypes_per_class: float | None


def sparsity(network: Network) -> Sparsity:
    """Count the prototypes in use and the members of groups."""
    if network.prototypes is None:
        return Sparsity(None, None, None, None)
    head = network.prototype_head
    used = len(head.used_prototypes())
    members = float((head.unit_weights() > 0).sum(dim=1).float().mean()) if head.level == "groups" else None
    return Sparsity(used, len(head.prototypes), members, used / len(network.labels))
