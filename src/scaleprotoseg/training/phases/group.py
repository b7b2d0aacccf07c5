"""``do: group``: adds groups of prototypes, which the classifier reads instead of prototypes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scaleprotoseg.model.config import at_least_one
from scaleprotoseg.training.phases.base import Place, PrototypePhase
from scaleprotoseg.training.phases.run import PhaseRun


@dataclass(frozen=True)
class Group(PrototypePhase):
    """Replace the classifier over prototypes with groups and a classifier over groups (ScaleProtoSeg, section 3.2).

    Attributes:
        do: The kind of phase.
        groups: Number of groups per class.
    """

    do: Literal["group"] = "group"
    groups: int = 3

    adds_groups = True

    def check(self, place: Place) -> None:
        """Check that there are prototypes without groups, and the range of ``groups``.

        Raises:
            UserError: If not.
        """
        super().check(place)
        place.require_no_groups(self.do)
        at_least_one(f"{place}.groups", self.groups)

    def run(self, run: PhaseRun) -> None:
        """Add the groups."""
        from scaleprotoseg.model.heads.groups import GroupHead

        network = run.network
        network.replace_head(GroupHead.over(network.prototype_head, self.groups), network.sources)
