"""The group head: class scores as weighted sums over groups of prototypes (stage 2 of ScaleProtoSeg)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scaleprotoseg.model.heads.base import Level, PrototypicalHead, initial_classifier
from scaleprotoseg.model.prototypes import PrototypeLayer


def project_to_simplex(rows: Tensor, valid: Tensor | None = None) -> Tensor:
    """Replace each row by the nearest point of the probability simplex, by sorting (Held et al., 1974).

    Args:
        rows: (..., n) real values.
        valid: (..., n) True for entries that may be non-zero; None for all. A row without any becomes zeros.

    Returns:
        (..., n) rows with entries >= 0 that sum to 1.

    >>> project_to_simplex(torch.tensor([[0.5, 1.0, -2.0], [0.2, 0.2, 0.2]]))
    tensor([[0.2500, 0.7500, 0.0000],
            [0.3333, 0.3333, 0.3333]])
    """
    if valid is not None:
        # The threshold is at least the largest entry - 1, so the largest entry - 2 has the effect of minus infinity.
        largest = rows.masked_fill(~valid, -torch.inf).amax(dim=-1, keepdim=True)
        rows = torch.where(valid, rows, torch.nan_to_num(largest, neginf=0.0) - 2)
    ordered = rows.sort(dim=-1, descending=True).values
    excess = ordered.cumsum(dim=-1) - 1
    count = torch.arange(1, rows.shape[-1] + 1, device=rows.device)
    support = (ordered * count > excess).sum(dim=-1, keepdim=True)
    threshold = excess.gather(-1, support - 1) / support
    projected = (rows - threshold).clamp_min(0)
    return projected if valid is None else projected * valid


def class_members(prototype_class: Tensor, num_classes: int) -> Tensor:
    """Return the (C, J) indices of the prototypes of each class, padded with -1 to the longest list (J >= 1).

    >>> class_members(torch.tensor([0, 2, 0]), 3).tolist()
    [[0, 2], [-1, -1], [1, -1]]
    """
    lists = [(prototype_class == index).nonzero().flatten() for index in range(num_classes)]
    longest = max(1, *(len(members) for members in lists))
    return torch.stack([F.pad(members, (0, longest - len(members)), value=-1) for members in lists])


class GroupHead(PrototypicalHead):
    """Class scores ``V exp(A a)`` of similarities ``a``, without bias (ScaleProtoSeg, section 3.2).

    Args:
        prototypes: The prototype layer, with any number of prototypes per class and scale.
        num_classes: Number of classes C.
        groups: Number of groups per class K. There are G = C * K groups, ordered by class.

    Attributes:
        weights: (C, K, J) parameter ``A``, weights of a class's prototypes in each group; rows lie on the probability
            simplex.
        members: (C, J) buffer, indices of each class's prototypes, padded with -1.
        classifier: (C, G) parameter ``V``: initially 1 for a group's own class, -0.5 for all others.
        group_class: (G,) buffer, class of each group.
    """

    level: ClassVar[Level] = "groups"
    members: Tensor
    group_class: Tensor

    def __init__(self, prototypes: PrototypeLayer, num_classes: int, groups: int) -> None:
        super().__init__()
        self.prototypes = prototypes
        self.register_buffer("members", class_members(prototypes.prototype_class, num_classes))
        self.register_buffer(
            "group_class", torch.arange(num_classes, device=self.members.device).repeat_interleave(groups)
        )
        counts = self.valid.sum(dim=1).clamp_min(1)[:, None, None]
        bound = counts.float().rsqrt()  # as in nn.Linear: uniform in +-1 / sqrt(inputs)
        initial = 2 * torch.rand(num_classes, groups, self.members.shape[1]) - 1
        self.weights = nn.Parameter(initial.to(bound.device) * bound)
        self.classifier = nn.Parameter(initial_classifier(self.group_class, num_classes))
        self.project_()

    @classmethod
    def over(cls, head: PrototypicalHead, groups: int) -> Self:
        """Build groups over the prototypes of another head, whose classifier they replace."""
        return cls(head.prototypes, len(head.classifier), groups)

    @classmethod
    def from_state(cls, prototypes: PrototypeLayer, state: Mapping[str, Tensor], num_classes: int) -> Self | None:
        """Build as many groups per class as there are group weights in ``state``."""
        return cls(prototypes, num_classes, state["weights"].shape[1]) if "weights" in state else None

    @property
    def valid(self) -> Tensor:
        """(C, J) mask, True for the entries of ``members`` that are not padding."""
        return self.members >= 0

    @property
    def unit_class(self) -> Tensor:
        """(G,) class of each group."""
        return self.group_class

    @property
    def group_weights(self) -> tuple[Tensor, Tensor]:
        """``weights`` and ``valid``."""
        return self.weights, self.valid

    def components(self) -> dict[str, list[nn.Parameter]]:
        """Return the prototypes, the classifier and the group weights."""
        return super().components() | {"groups": [self.weights]}

    def unit_weights(self) -> Tensor:
        """Return the (G, P) group weights over all prototypes, zero outside a group's class."""
        num_classes, groups, _ = self.weights.shape
        dense = self.weights.new_zeros(num_classes, groups, len(self.prototypes))
        index = self.members.clamp_min(0)[:, None].expand_as(self.weights)
        dense.scatter_add_(2, index, self.weights.detach() * self.valid[:, None])
        return dense.flatten(0, 1)

    def activations(self, similarities: Tensor) -> Tensor:
        """Compute ``exp(sum_j A[c, k, j] a_j)``, the weighted geometric mean of a group's members (section 3.2).

        Args:
            similarities: (B, P, h, w) similarities.

        Returns:
            (B, G, h, w) group activations, > 0.
        """
        batch, _, height, width = similarities.shape
        num_classes, groups, longest = self.weights.shape
        own = similarities.flatten(2).index_select(1, self.members.clamp_min(0).flatten())
        own = own.reshape(batch, num_classes, longest, height * width)
        logs = torch.matmul(self.weights * self.valid[:, None], own)
        return logs.exp().reshape(batch, num_classes * groups, height, width)

    def member_weights(self) -> list[tuple[int, int, Tensor]]:
        """List group, prototype and weight of every member of non-zero weight; weights are views of the parameter."""
        groups = self.weights.shape[1]
        return [
            (label * groups + group, int(self.members[label, column]), self.weights[label, group, column])
            for label, group, column in (self.weights * self.valid[:, None]).nonzero().tolist()
        ]

    def used_prototypes(self) -> Tensor:
        """Return the (P',) indices of the prototypes with a non-zero weight in some group."""
        return (self.unit_weights() != 0).any(dim=0).nonzero().flatten().cpu()

    def constrain_(self, trained: Collection[str]) -> None:
        """Project the group weights back onto the simplex if they were trained."""
        if "groups" in trained:
            self.project_()

    @torch.no_grad()
    def project_(self) -> None:
        """Project every row of ``weights`` back onto the simplex, in place."""
        self.weights.copy_(project_to_simplex(self.weights, self.valid[:, None].expand_as(self.weights)))

    @torch.no_grad()
    def pruned(self, threshold: float) -> tuple[Self, Tensor]:
        """Return a head without group weights below ``threshold``, and without prototypes that no group uses any more.

        The largest weight of a group is always kept. Weights are not rescaled (ScaleProtoSeg, section 3.3).

        Args:
            threshold: Smallest weight that is kept, in 0-1.

        Returns:
            The pruned head, and the (P',) indices of its prototypes in this head.
        """
        largest = self.weights >= self.weights.amax(dim=-1, keepdim=True)
        kept = ((self.weights >= threshold) | largest) & self.valid[:, None]
        sparse = torch.where(kept, self.weights, 0.0)
        used = self.members[(sparse > 0).any(dim=1)].sort().values
        return self._with_prototypes(used, sparse), used

    @torch.no_grad()
    def select(self, keep: Tensor) -> Self:
        """Return a head with only the prototypes in ``keep``.

        The remaining members of a group take over the weight of the dropped ones, in proportion. If all members of a
        group are dropped, the remaining prototypes of its class get equal weights.

        Args:
            keep: (P',) indices of prototypes, ascending.
        """
        keep = keep.to(self.members.device)
        kept = (torch.isin(self.members, keep) & self.valid)[:, None]
        weights = self.weights * kept
        weights = torch.where(weights.sum(dim=-1, keepdim=True) > 0, weights, kept.to(weights))
        return self._with_prototypes(keep, weights / weights.sum(dim=-1, keepdim=True).clamp_min(1e-12))

    @torch.no_grad()
    def merge(self, keep: Tensor, into: Sequence[int]) -> Self:
        """Return a head in which the group weights of duplicates are added up."""
        keep = keep.to(self.members.device)
        target = keep[torch.as_tensor(into, device=keep.device)]
        weights = torch.zeros_like(self.weights)
        for label, members in enumerate(self.members):
            filled = members >= 0
            columns = (members[None] == target[members[filled]][:, None]).long().argmax(dim=1)
            weights[label].index_add_(1, columns, self.weights[label][:, filled])
        return self._with_prototypes(keep, weights)

    def _with_prototypes(self, used: Tensor, weights: Tensor) -> Self:
        """Build the head over the prototypes in ``used``, with (C, K, J) weights over this head's members."""
        num_classes, groups, _ = weights.shape
        head = type(self)(self.prototypes.select(used), num_classes, groups)
        head.weights.zero_()
        for index, members in enumerate(head.members):
            old = used[members[members >= 0]]
            column = (self.members[index][:, None] == old[None]).long().argmax(dim=0)
            head.weights[index, :, : len(old)] = weights[index][:, column]
        head.classifier.copy_(self.classifier)
        return head
