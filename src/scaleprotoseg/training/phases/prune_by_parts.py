"""``do: prune-by-parts``: drops prototypes that do not reliably hit one object part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scaleprotoseg.errors import UserError
from scaleprotoseg.training.config import TrainingConfig
from scaleprotoseg.training.phases.base import Place, PrototypePhase
from scaleprotoseg.training.phases.run import Observation, PhaseRun


@dataclass(frozen=True)
class PruneByParts(PrototypePhase):
    """Drop prototypes that do not reliably hit one object part of their class, and prototypes that are not in use.

    Each class keeps its best prototype. Needs annotations of object parts in the training images.

    Attributes:
        do: The kind of phase.
        agreement: Fraction in 0-1; a prototype is kept if there is a part that it hits, with noise and without, in more
            than this fraction of the images that show the part.
    """

    do: Literal["prune-by-parts"] = "prune-by-parts"
    agreement: float = 0.8

    @property
    def needs_parts(self) -> bool:
        """True."""
        return True

    def check(self, place: Place) -> None:
        """Check that there are prototypes, and the range of ``agreement``.

        Raises:
            UserError: If not.
        """
        super().check(place)
        if not 0 <= self.agreement < 1:
            raise UserError(f"{place}: agreement is {self.agreement}, a fraction of images; give 0 <= agreement < 1")

    def run(self, run: PhaseRun) -> None:
        """Prune the prototypes."""
        from scaleprotoseg.progress import progress_bar
        from scaleprotoseg.training.pruning import prune_by_parts

        prune_by_parts(run.network, run.dataset, self.agreement, progress_bar("finding object parts"))

    def estimate(self, seen: Observation, config: TrainingConfig) -> float:
        """Estimate the duration, which grows with the number of images."""
        return seen.seconds * seen.images / seen.images_seen
