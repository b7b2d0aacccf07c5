"""``do: frame``: finds the size of the region that explanations show around a cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scaleprotoseg.errors import UserError
from scaleprotoseg.training.config import TrainingConfig
from scaleprotoseg.training.phases.base import Place, PrototypePhase
from scaleprotoseg.training.phases.run import Observation, PhaseRun

IMAGES_PER_CLASS = 4
"""Number of training images per class that are examined."""


@dataclass(frozen=True)
class Frame(PrototypePhase):
    """Find, for each scale, the smallest region around a cell that contains the evidence; explanations then show it.

    Attributes:
        do: The kind of phase.
        inside: Fraction of a similarity, in 0-1, that must remain when everything outside the region is masked.
    """

    do: Literal["frame"] = "frame"
    inside: float = 0.96

    def check(self, place: Place) -> None:
        """Check that the prototypes are projected, and the range of ``inside``.

        Raises:
            UserError: If not.
        """
        super().check(place)
        if not place.is_projected or not 0 < self.inside < 1:
            raise UserError(
                f"{place}: a frame is measured around training patches; project before, and give inside between 0 and 1"
            )

    def run(self, run: PhaseRun) -> None:
        """Find the regions."""
        from scaleprotoseg.progress import progress_bar
        from scaleprotoseg.training.framing import frame

        with run.durations.of("measuring"):
            frame(run.network, run.dataset, self.inside, IMAGES_PER_CLASS, progress_bar("measuring evidence"))

    def estimate(self, seen: Observation, config: TrainingConfig) -> float:
        """Estimate the duration, which grows with the number of pairs of a class and an image."""
        return seen.seconds * IMAGES_PER_CLASS * seen.classes / seen.class_views
