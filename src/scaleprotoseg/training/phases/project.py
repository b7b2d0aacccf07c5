"""``do: project``: replaces prototypes with training patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scaleprotoseg.training.config import TrainingConfig
from scaleprotoseg.training.phases.base import Place, PrototypePhase
from scaleprotoseg.training.phases.run import Observation, PhaseRun


@dataclass(frozen=True)
class Project(PrototypePhase):
    """Replace every prototype with its nearest training patch of the same class (ScaleProtoSeg, section 3.3).

    Attributes:
        do: The kind of phase.
    """

    do: Literal["project"] = "project"

    projects = True

    def check(self, place: Place) -> None:
        """Check that there are prototypes without groups.

        Raises:
            UserError: If not.
        """
        super().check(place)
        place.require_no_groups(self.do)

    def run(self, run: PhaseRun) -> None:
        """Project the prototypes."""
        from scaleprotoseg.progress import progress_bar
        from scaleprotoseg.training.projection import project

        with run.durations.of("projecting"):
            project(run.network, run.dataset, progress_bar("projecting prototypes"))

    def estimate(self, seen: Observation, config: TrainingConfig) -> float:
        """Estimate the duration: one pass over the images, and the time to cut out the patches."""
        return seen.seconds + seen.image_seconds * (seen.images - seen.images_seen)
