"""A phase that scales the weights of the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scaleprotoseg.errors import UserError
from scaleprotoseg.training.phases.base import Phase, Place
from scaleprotoseg.training.phases.run import PhaseRun


@dataclass(frozen=True)
class ScaleHead(Phase):
    """Multiply all weights of the head by a factor.

    Attributes:
        do: The kind of phase.
        factor: The factor, above 0.
    """

    do: Literal["scale-head"] = "scale-head"
    factor: float = 0.5

    def check(self, place: Place) -> None:
        if self.factor <= 0:
            raise UserError(f"{place}: factor is {self.factor}; give more than 0")

    def run(self, run: PhaseRun) -> None:
        for parameter in run.network.head.parameters():
            parameter.data.mul_(self.factor)
