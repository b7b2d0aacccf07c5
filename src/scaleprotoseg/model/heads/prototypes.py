"""The prototype head: class scores as weighted sums of similarities (ProtoSeg, and stage 1 of ScaleProtoSeg)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from scaleprotoseg.model.config import HeadConfig
from scaleprotoseg.model.heads.base import Level, PrototypicalHead, initial_classifier
from scaleprotoseg.model.prototypes import PrototypeLayer


class PrototypeHead(PrototypicalHead):
    """Class scores ``W a`` of similarities ``a``, without bias (ScaleProtoSeg, section 3.1).

    Args:
        prototypes: The prototype layer.
        num_classes: Number of classes C.

    Attributes:
        classifier: (C, P) parameter ``W``: initially 1 for a prototype's own class, -0.5 for all others.
    """

    level: ClassVar[Level] = "prototypes"

    def __init__(self, prototypes: PrototypeLayer, num_classes: int) -> None:
        super().__init__()
        self.prototypes = prototypes
        self.classifier = nn.Parameter(initial_classifier(prototypes.prototype_class, num_classes))

    @classmethod
    def build(cls, config: HeadConfig, num_classes: int, num_scales: int, channels: int) -> Self:
        """Build a head with the same number of prototypes for every class and scale."""
        return cls(PrototypeLayer.uniform(num_classes, num_scales, config.prototypes, channels), num_classes)

    @classmethod
    def from_state(cls, prototypes: PrototypeLayer, state: Mapping[str, Tensor], num_classes: int) -> Self | None:
        """Build a head unless ``state`` has group weights."""
        return None if "weights" in state else cls(prototypes, num_classes)

    @property
    def unit_class(self) -> Tensor:
        """(P,) class of each prototype."""
        return self.prototypes.prototype_class

    def activations(self, similarities: Tensor) -> Tensor:
        """Return the similarities: the units are the prototypes."""
        return similarities

    def unit_weights(self) -> Tensor:
        """Return the (P, P) identity matrix."""
        return torch.eye(len(self.prototypes), dtype=self.classifier.dtype, device=self.classifier.device)

    def member_weights(self) -> list[tuple[int, int, Tensor]]:
        """Return an empty list: there are no groups."""
        return []

    @property
    def group_weights(self) -> None:
        """None: there are no groups."""
        return

    def used_prototypes(self) -> Tensor:
        """Return the (P',) indices of the prototypes with a non-zero weight for some class."""
        return (self.classifier.detach() != 0).any(dim=0).nonzero().flatten().cpu()

    def select(self, keep: Tensor) -> Self:
        """Return a head of the prototypes in ``keep``, with their columns of the classifier."""
        head = type(self)(self.prototypes.select(keep), len(self.classifier))
        head.classifier.data.copy_(self.classifier.data[:, keep])
        return head

    def merge(self, keep: Tensor, into: Sequence[int]) -> Self:
        """Return a head in which the classifier columns of duplicates are added up."""
        head = type(self)(self.prototypes.select(keep), len(self.classifier))
        columns = torch.zeros_like(head.classifier.data)
        columns.index_add_(1, torch.as_tensor(into, device=columns.device), self.classifier.data)
        head.classifier.data.copy_(columns)
        return head
