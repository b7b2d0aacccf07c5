"""``do: prune-by-neighbours``: drops prototypes whose nearest training patches belong to other classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

from scaleprotoseg.errors import UserError
from scaleprotoseg.training.config import TrainingConfig
from scaleprotoseg.training.phases.base import Place, PrototypePhase
from scaleprotoseg.training.phases.run import Observation, PhaseRun


@dataclass(frozen=True)
class PruneByNeighbours(PrototypePhase):
    """Drop prototypes whose nearest training patches belong to other classes (ProtoSeg, section 3).

    Attributes:
        do: The kind of phase.
        neighbours: Number of nearest training patches per prototype.
        agreeing: Smallest number of them that must be of the prototype's class.
    """

    do: Literal["prune-by-neighbours"] = "prune-by-neighbours"
    neighbours: int = 6
    agreeing: int = 3

    def check(self, place: Place) -> None:
        """Check that there are prototypes without groups, and the range of ``agreeing``.

        Raises:
            UserError: If not.
        """
        super().check(place)
        place.require_no_groups(self.do)
        if not 1 <= self.agreeing <= self.neighbours:
            raise UserError(
                f"{place}: {self.agreeing} of {self.neighbours} neighbours cannot agree; "
                "give 1 <= agreeing <= neighbours"
            )

    def run(self, run: PhaseRun) -> None:
        """Prune the prototypes."""
        from scaleprotoseg.progress import progress_bar
        from scaleprotoseg.training.pruning import prune_by_neighbours

        progress = progress_bar("finding neighbours")
        prune_by_neighbours(run.network, run.dataset, self.neighbours, self.agreeing, progress)

    def shortened(self) -> Self:
        """Return the phase with one agreeing neighbour, because a few images have no more."""
        return replace(self, agreeing=1)

    def estimate(self, seen: Observation, config: TrainingConfig) -> float:
        """Estimate the duration: one pass over the images."""
        return seen.seconds + seen.image_seconds * (seen.images - seen.images_seen)
