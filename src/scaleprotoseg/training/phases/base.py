"""The interface of all phases: keys, requirements, execution and estimated duration.

Recipes are parsed without torch, so phases import the code that they run inside of :meth:`Phase.run`. A file that
defines a phase must not import anything for type checking only either: jsonargparse runs such imports.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.heads import HEADS
from scaleprotoseg.training.config import TrainingConfig
from scaleprotoseg.training.phases.run import Observation, PhaseRun


# A dataclass without fields, and no ABC among the bases: jsonargparse takes the subclasses for plain dataclasses then.
@dataclass(frozen=True)
class Phase(metaclass=ABCMeta):
    """One step of training. Subclasses are frozen dataclasses whose fields are the keys in the recipe.

    Attributes:
        adds_prototypes: True if the network has prototypes afterwards, whatever its head was before.
        projects: True if every prototype is a training patch afterwards.
        adds_groups: True if the classifier reads groups of prototypes afterwards.
        measured: True if the network is worth measuring on the validation split afterwards.
    """

    adds_prototypes = False
    projects = False
    adds_groups = False
    measured = True

    @property
    @abstractmethod
    def do(self) -> str:
        """The kind of phase, value of the key ``do``; a field in subclasses."""

    @property
    def needs_parts(self) -> bool:
        """True if the phase needs annotations of object parts in the training images."""
        return False

    @property
    def trains(self) -> Collection[str]:
        """Components of the network that the phase trains."""
        return ()

    @property
    def optimizer_steps(self) -> int:
        """Number of optimizer steps; 0 for a phase that is not a fit."""
        return 0

    @property
    def needs_teacher(self) -> bool:
        """True if the phase uses the logits of another network, the teacher."""
        return False

    @property
    def teacher_phase(self) -> str:
        """Name of the earlier phase whose network is the teacher; empty for the model in ``warm_start``."""
        return ""

    @abstractmethod
    def check(self, place: Place) -> None:
        """Check the keys, and the requirements of the phase on the earlier phases.

        Raises:
            UserError: If a value is out of range, or the phase cannot follow the earlier ones.
        """

    @abstractmethod
    def run(self, run: PhaseRun) -> None:
        """Run the phase and change ``run.network`` in place.

        Raises:
            UserError: If the data does not have what the phase needs.
        """

    def shortened(self) -> Self:
        """Return the phase as a sanity check runs it, on a few images and without a teacher."""
        return self

    def estimate(self, seen: Observation, config: TrainingConfig) -> float:
        """Estimate the duration of the phase in seconds from a run of the shortened phase."""
        return seen.seconds


@dataclass(frozen=True)
class PrototypePhase(Phase):
    """A phase for networks with prototypes."""

    def check(self, place: Place) -> None:
        """Check that there are prototypes.

        Raises:
            UserError: If the network is a black box at this point.
        """
        if not place.has_prototypes:
            raise UserError(
                f"{place}: cannot {self.do}, the head has no prototypes; set network.head.kind, or put a phase with "
                "'do: add-prototypes' first"
            )


@dataclass(frozen=True)
class Place:
    """The place of a phase in a recipe, and the state of the network when the phase begins.

    Attributes:
        config: The recipe without its phases.
        phases: All phases of the recipe by name, in order.
        index: Index of the phase.
    """

    config: TrainingConfig
    phases: dict[str, Phase]
    index: int

    def __str__(self) -> str:
        return f"phases.{list(self.phases)[self.index]}"

    @property
    def before(self) -> Sequence[Phase]:
        """The earlier phases."""
        return list(self.phases.values())[: self.index]

    @property
    def earlier(self) -> Sequence[str]:
        """Names of the earlier phases."""
        return list(self.phases)[: self.index]

    @property
    def has_prototypes(self) -> bool:
        """True if the network has prototypes."""
        return HEADS[self.config.network.head.kind].prototypes or any(phase.adds_prototypes for phase in self.before)

    @property
    def is_projected(self) -> bool:
        """True if prototypes are training patches."""
        return any(phase.projects for phase in self.before)

    @property
    def has_groups(self) -> bool:
        """True if the classifier reads groups."""
        return any(phase.adds_groups for phase in self.before)

    @property
    def is_projected_later(self) -> bool:
        """True if a later phase projects prototypes onto training patches."""
        return any(phase.projects for phase in list(self.phases.values())[self.index + 1 :])

    @property
    def components(self) -> tuple[str, ...]:
        """Components of the network that a fit can train."""
        kind = "prototypes" if any(phase.adds_prototypes for phase in self.before) else self.config.network.head.kind
        return "encoder", "pyramid", *HEADS[kind].components, *(("groups",) if self.has_groups else ())

    def require_no_groups(self, do: str) -> None:
        """Check that the prototypes are not grouped yet.

        Raises:
            UserError: If they are.
        """
        if self.has_groups:
            raise UserError(f"{self}: cannot {do} after grouping; move it before the group phase")
