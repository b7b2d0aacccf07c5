"""The interface of all heads, and of heads that decide by prototypes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scaleprotoseg.model.config import HeadConfig, PyramidConfig
from scaleprotoseg.model.output import Output
from scaleprotoseg.model.prototypes import PrototypeLayer, similarity

Level = Literal["prototypes", "groups"]
"""The units that a classifier reads."""


class Head(nn.Module, ABC):
    """A module that computes class scores from the pyramid map."""

    @classmethod
    def pyramid_config(cls, config: PyramidConfig, num_classes: int) -> PyramidConfig:
        """Return the configuration of the pyramid that this head needs; by default ``config`` itself."""
        return config

    @classmethod
    def build(cls, config: HeadConfig, num_classes: int, num_scales: int, channels: int) -> Self:
        """Build the head for a pyramid with ``num_scales`` scales of ``channels`` channels each.

        By default, the class is called with the channels of the whole pyramid map and the number of classes.
        """
        return cls(num_scales * channels, num_classes)

    @abstractmethod
    def forward(self, pyramid: Tensor) -> Output:
        """Map a (B, S * D, h, w) pyramid map, before any sigmoid, to an :class:`Output`."""

    def components(self) -> dict[str, list[nn.Parameter]]:
        """Return the trainable parameters by the component names that recipes use."""
        return {}

    def constrain_(self, trained: Collection[str]) -> None:
        """Move the parameters of the trained components back into their domain, after each optimizer step."""

    @property
    def prototypical(self) -> PrototypicalHead | None:
        """This head if it decides by prototypes, else None."""
        return None


class PrototypicalHead(Head):
    """Class scores as weighted sums of units without bias; a unit is a prototype or a group of prototypes.

    The decision is ``logits = classifier @ activations(similarities)``, so every score is an exact sum over units.

    Attributes:
        level: Kind of the units: ``prototypes`` or ``groups``.
        prototypes: The prototype layer with P prototypes.
        classifier: (C, U) parameter, weight of each of U units for each of C classes.
    """

    level: ClassVar[Level]
    prototypes: PrototypeLayer
    classifier: nn.Parameter

    @classmethod
    @abstractmethod
    def from_state(cls, prototypes: PrototypeLayer, state: Mapping[str, Tensor], num_classes: int) -> Self | None:
        """Build a head whose tensors have the shapes of those in ``state``.

        Args:
            prototypes: A layer with the shape of the one in ``state``.
            state: The head's state dict.
            num_classes: Number of classes C.

        Returns:
            The head with initial values, which are not loaded yet; None if ``state`` belongs to another kind of head.
        """

    @property
    @abstractmethod
    def unit_class(self) -> Tensor:
        """(U,) class of each unit."""

    @abstractmethod
    def activations(self, similarities: Tensor) -> Tensor:
        """Compute the (B, U, h, w) activations of the units from (B, P, h, w) similarities."""

    @abstractmethod
    def unit_weights(self) -> Tensor:
        """Return the (U, P) weight of each prototype in each unit."""

    @abstractmethod
    def member_weights(self) -> list[tuple[int, int, Tensor]]:
        """List group, prototype and weight of every member of a group; a weight is a scalar view of the parameter."""

    @property
    @abstractmethod
    def group_weights(self) -> tuple[Tensor, Tensor] | None:
        """(C, K, J) group weights and (C, J) mask of the entries in use; None if the units are prototypes."""

    @abstractmethod
    def used_prototypes(self) -> Tensor:
        """Return the (P',) indices of the prototypes with a non-zero weight: in a group, or for a class."""

    @abstractmethod
    def select(self, keep: Tensor) -> Self:
        """Return a head with only the prototypes whose (P',) indices, ascending, are in ``keep``."""

    @abstractmethod
    def merge(self, keep: Tensor, into: Sequence[int]) -> Self:
        """Return a head in which duplicate prototypes are merged into one; no score changes.

        Args:
            keep: (P',) indices of the prototypes that are kept, ascending.
            into: For every prototype, the position in ``keep`` of the prototype it is merged into.
        """

    def pruned(self, threshold: float) -> tuple[Self, Tensor]:
        """Return a head without small group weights, and the (P',) indices of its prototypes in this head.

        Args:
            threshold: Smallest weight that is kept, in 0-1. Without groups, nothing is pruned.
        """
        return self, torch.arange(len(self.prototypes))

    def forward(self, pyramid: Tensor) -> Output:
        """Map a (B, S * D, h, w) pyramid map, before the sigmoid, to an :class:`Output` with all its values."""
        with torch.autocast(pyramid.device.type, enabled=False):
            distances = self.prototypes(torch.sigmoid(pyramid.float()))
            similarities = similarity(distances)
        return self.decide(similarities, distances)

    def decide(self, similarities: Tensor, distances: Tensor | None = None) -> Output:
        """Compute class scores from (B, P, h, w) similarities.

        Args:
            similarities: Similarities to the prototypes.
            distances: Distances from which they were computed, to add to the output.
        """
        with torch.autocast(similarities.device.type, enabled=False):
            units = self.activations(similarities)
            logits = F.conv2d(units, self.classifier[:, :, None, None])
        return Output(logits, units if self.level == "groups" else None, similarities, distances)

    def components(self) -> dict[str, list[nn.Parameter]]:
        """Return the prototypes and the classifier."""
        return {"prototypes": [self.prototypes.vectors], "classifier": [self.classifier]}

    @property
    def prototypical(self) -> PrototypicalHead:
        """This head."""
        return self


def initial_classifier(unit_class: Tensor, num_classes: int) -> Tensor:
    """Return the initial (C, U) classifier: 1 for a unit's own class, -0.5 for all others (ProtoSeg, section 3).

    >>> initial_classifier(torch.tensor([0, 0, 1]), 2).tolist()
    [[1.0, 1.0, -0.5], [-0.5, -0.5, 1.0]]
    """
    own = unit_class == torch.arange(num_classes, device=unit_class.device)[:, None]
    return torch.where(own, 1.0, -0.5)
