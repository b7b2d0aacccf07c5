"""``do: prune``: drops small group weights, and prototypes that are in no group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scaleprotoseg.errors import UserError
from scaleprotoseg.training.phases.base import Place, PrototypePhase
from scaleprotoseg.training.phases.run import PhaseRun


@dataclass(frozen=True)
class Prune(PrototypePhase):
    """Set small group weights to zero and drop the prototypes that no group uses (ScaleProtoSeg, section 3.3).

    Attributes:
        do: The kind of phase.
        threshold: Smallest group weight that is kept, in 0-1; the largest weight of a group is always kept.
    """

    do: Literal["prune"] = "prune"
    threshold: float = 0.05

    def check(self, place: Place) -> None:
        """Check that there are groups, and the range of ``threshold``.

        Raises:
            UserError: If not.
        """
        super().check(place)
        if not 0 <= self.threshold <= 1:
            raise UserError(f"{place}: threshold is {self.threshold}, the weights of a group sum to 1; give 0 to 1")
        if not place.has_groups:
            raise UserError(f"{place}: nothing to prune before grouping; put a phase with 'do: group' first")

    def run(self, run: PhaseRun) -> None:
        """Prune the groups."""
        network = run.network
        head, kept = network.prototype_head.pruned(self.threshold)
        network.replace_head(head, [network.sources[index] for index in kept.tolist()])
