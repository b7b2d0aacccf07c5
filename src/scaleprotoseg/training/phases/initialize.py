"""``do: initialize``: starts pyramid and prototypes from training patches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scaleprotoseg.errors import UserError
from scaleprotoseg.training.config import TrainingConfig
from scaleprotoseg.training.phases.base import Place, PrototypePhase
from scaleprotoseg.training.phases.run import Observation, PhaseRun


@dataclass(frozen=True)
class Initialize(PrototypePhase):
    """Set the pyramid to directions that separate the classes, and the prototypes to clusters of each class's patches.

    The encoder must be trained. Directions that change with noise, or with the surroundings of a patch, are avoided.

    Attributes:
        do: The kind of phase.
        noise: Standard deviation of Gaussian noise on the normalized image; 0 for none.
        window: Cells on each side of a patch that remain visible in a masked copy of its image; 0 for no such copy.
    """

    do: Literal["initialize"] = "initialize"
    noise: float = 0.0
    window: int = 0

    measured = False

    def check(self, place: Place) -> None:
        """Check that there are prototypes that are not projected yet, and the ranges.

        Raises:
            UserError: If not, or a value is out of range.
        """
        super().check(place)
        if place.is_projected:
            raise UserError(f"{place}: would replace the projected prototypes; move it before the projection")
        if not 0 <= self.noise < math.inf or self.window < 0:
            raise UserError(f"{place}: noise is {self.noise} and window {self.window}; give 0 or more")

    def run(self, run: PhaseRun) -> None:
        """Set pyramid and prototypes."""
        from scaleprotoseg.progress import progress_bar
        from scaleprotoseg.training.fit import phase_seed
        from scaleprotoseg.training.initialization import initialize

        seed = phase_seed(run.config.seed, run.index)
        with run.durations.of("reading"):
            initialize(
                run.network, run.dataset, self.noise, self.window, seed, progress_bar("reading training patches")
            )

    def estimate(self, seen: Observation, config: TrainingConfig) -> float:
        """Estimate the duration, which grows with the number of images."""
        return seen.seconds * seen.images / seen.images_seen
