"""``do: add-prototypes``: turns a black box into a network that decides by prototypes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.config import at_least_one
from scaleprotoseg.training.phases.base import Phase, Place
from scaleprotoseg.training.phases.run import PhaseRun


@dataclass(frozen=True)
class AddPrototypes(Phase):
    """Replace the pyramid and head of a black box with a new pyramid and untrained prototypes; the encoder is kept.

    The black box can be the teacher of later fits, which name the phase that trained it in ``teacher``.

    Attributes:
        do: The kind of phase.
        prototypes: Number of prototypes per class and scale.
        channels: Channels of each scale of the new pyramid.
        fuse: ``keep`` makes each branch of the pyramid a scale, ``sum`` adds all branches up into a single scale.
    """

    do: Literal["add-prototypes"] = "add-prototypes"
    prototypes: int = 3
    channels: int = 64
    fuse: Literal["keep", "sum"] = "keep"

    adds_prototypes = True
    measured = False

    def check(self, place: Place) -> None:
        """Check that the network is a black box, and the ranges.

        Raises:
            UserError: If the network has prototypes already, or a value is out of range.
        """
        if place.has_prototypes:
            raise UserError(
                f"{place}: the network has prototypes already; set network.head.kind to direct, or leave the phase out"
            )
        at_least_one(f"{place}.prototypes", self.prototypes)
        at_least_one(f"{place}.channels", self.channels)

    def run(self, run: PhaseRun) -> None:
        """Replace pyramid and head."""
        network = run.network
        pyramid = replace(network.config.pyramid, channels=self.channels, fuse=self.fuse, shown=None)
        head = replace(network.config.head, kind="prototypes", prototypes=self.prototypes)
        network.rebuild(pyramid, head)
