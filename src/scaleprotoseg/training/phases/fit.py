"""``do: fit``: trains components of the network."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Self

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.config import at_least_one
from scaleprotoseg.training.config import TrainingConfig
from scaleprotoseg.training.fit_settings import LOSS_WEIGHTS, FitSettings
from scaleprotoseg.training.phases.base import Phase, Place
from scaleprotoseg.training.phases.run import Observation, PhaseRun

FIXED_BY_PROJECTION = ("encoder", "pyramid", "prototypes")
"""Components that must not change after projection, because the patches would get other latent vectors."""

SANITY_STEPS = 2
"""Number of optimizer steps in a sanity check; the last batch is timed."""


@dataclass(frozen=True)
class Fit(FitSettings, Phase):
    """Train the components that have a learning rate; see :class:`~scaleprotoseg.training.fit_settings.FitSettings`."""

    @property
    def needs_parts(self) -> bool:
        """True with the pointing loss."""
        return self.pointing > 0

    @property
    def trains(self) -> Collection[str]:
        """The components that have a learning rate."""
        return self.learning_rates.keys()

    @property
    def optimizer_steps(self) -> int:
        """The value of ``steps``."""
        return self.steps

    @property
    def needs_teacher(self) -> bool:
        """True with distillation."""
        return self.distillation > 0

    @property
    def teacher_phase(self) -> str:
        """The phase named by ``teacher``."""
        return self.teacher

    def check(self, place: Place) -> None:
        """Check the ranges, and that the network has the components that are trained or penalized.

        Raises:
            UserError: If a value is out of range, or the phase cannot follow the earlier ones.
        """
        at_least_one(f"{place}.steps", self.steps)
        self._check_rates(place)
        self._check_losses(place)
        self._check_teacher(place)
        self._check_projection(place)

    def _check_rates(self, place: Place) -> None:
        wrong = sorted(set(self.learning_rates) - set(place.components))
        if wrong or not self.learning_rates:
            what = (
                f"cannot train {wrong[0]!r}" if wrong else f"trains nothing (the phases are {', '.join(place.phases)})"
            )
            raise UserError(f"{place}: {what}; learning_rates may name {', '.join(place.components)}")
        for component, rate in self.learning_rates.items():
            if not 0 < rate < math.inf:
                raise UserError(
                    f"{place}: the learning rate of {component} is {rate}; give more than 0, or leave it out"
                )

    def _check_losses(self, place: Place) -> None:
        for key in ("weight_decay", "noise", "window", *LOSS_WEIGHTS):
            if not 0 <= getattr(self, key) < math.inf:
                raise UserError(f"{place}: {key} is {getattr(self, key)}; give 0 or more")
        possible = dict.fromkeys(LOSS_WEIGHTS, place.has_prototypes)
        possible |= {"distillation": True, "group_entropy": place.has_groups}
        for loss, applies in possible.items():
            if getattr(self, loss) and not applies:
                missing = "groups yet" if loss == "group_entropy" else "prototypes"
                raise UserError(f"{place}: {loss} does not apply, the head has no {missing}; leave it out")
        if (self.invariance or self.redundancy) and self.noise <= 0:
            raise UserError(f"{place}: invariance and redundancy compare an image with its noisy copy; give noise")
        if self.locality and not self.window:
            raise UserError(f"{place}: locality compares an image with its masked copy; give window")
        if self.window and not place.has_prototypes:
            raise UserError(f"{place}: window does not apply, the head has no prototypes; leave it out")

    def _check_teacher(self, place: Place) -> None:
        if self.distillation and not self.teacher and place.config.warm_start is None:
            raise UserError(
                f"{place}: distillation needs a teacher; name a model in warm_start, or an earlier phase in teacher"
            )
        if self.teacher and not self.distillation:
            raise UserError(f"{place}: has a teacher, but distillation is 0; leave it out")
        if self.teacher and self.teacher not in place.earlier:
            raise UserError(f"{place}: its teacher {self.teacher!r} is no earlier phase; name one, or leave it out")

    def _check_projection(self, place: Place) -> None:
        moved = [component for component in FIXED_BY_PROJECTION if component in self.learning_rates]
        if self.pointing and not moved:
            raise UserError(
                f"{place}: pointing has no effect unless encoder, pyramid or prototypes are trained; leave it out"
            )
        if self.tied:
            if not place.is_projected or moved != ["pyramid"] or place.config.network.input.scales:
                raise UserError(
                    f"{place}: tied prototypes follow their training patches while the pyramid is trained; project "
                    "before, train the pyramid but neither encoder nor prototypes, and leave network.input.scales empty"
                )
        elif moved and place.is_projected and (place.has_groups or not place.is_projected_later):
            raise UserError(
                f"{place}: training {moved[0]} after projection moves prototypes off their training patches; "
                "leave it out, project again before grouping, or set tied"
            )

    def run(self, run: PhaseRun) -> None:
        """Train the network.

        Raises:
            UserError: If the data does not have what the phase needs.
        """
        from scaleprotoseg.training.fit import fit

        fit(self, run)

    def shortened(self) -> Self:
        """Return the fit with two steps and without a teacher."""
        return replace(self, steps=SANITY_STEPS, distillation=0.0, teacher="")

    def estimate(self, seen: Observation, config: TrainingConfig) -> float:
        """Estimate the duration from the time of a batch; that of caching and part assignment grows with the images."""
        reads_all_images = seen.cached_bytes > 0 or self.needs_parts
        preparation = seen.preparation_seconds * seen.images / seen.images_seen if reads_all_images else 0.0
        return preparation + self.steps * config.data.accumulate * seen.batch_seconds
