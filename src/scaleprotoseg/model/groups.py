"""Groups: sparse weighted geometric means of a class's similarities (stage 2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scaleprotoseg.model.output import Output
from scaleprotoseg.model.prototypes import PrototypeHead, PrototypeLayer, initial_classifier, similarity


def project_to_simplex(rows: Tensor, valid: Tensor | None = None) -> Tensor:
    """Euclidean projection of each row onto the probability simplex, by sorting (Held et al., 1974).

    Args:
        rows: (..., n) real values.
        valid: (..., n) entries that may be non-zero; None = all. A row without any becomes zeros.

    Returns:
        (..., n) rows with entries >= 0 that sum to 1.
    """
    if valid is not None:
        # The threshold is never below the largest entry - 1, so 2 below it is as good as minus infinity.
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
    """(C, J) indices of every class's prototypes, padded with -1 to the longest list (J >= 1)."""
    lists = [(prototype_class == index).nonzero().flatten() for index in range(num_classes)]
    longest = max(1, *(len(members) for members in lists))
    return torch.stack([F.pad(members, (0, longest - len(members)), value=-1) for members in lists])


class GroupHead(nn.Module):
    """Class scores as weighted sums of groups: ``logits = V exp(A a)``, without bias (stage 2).

    Args:
        prototypes: The prototype layer, with any number of prototypes per class and scale.
        num_classes: Number of classes C.
        groups: Groups per class K; G = C * K in all, ordered by class.

    Attributes:
        weights: (C, K, J) parameter ``A``: rows on the probability simplex over the class's members.
        members: (C, J) buffer, indices of the class's prototypes, -1 where a class has fewer.
        classifier: (C, G) parameter ``V``: 1 to a group's own class, -0.5 to the others at start.
        group_class: (G,) buffer, class of each group.
    """

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
        bound = counts.float().rsqrt()  # of a default linear layer: uniform in +-1 / sqrt(inputs)
        start = 2 * torch.rand(num_classes, groups, self.members.shape[1]) - 1
        self.weights = nn.Parameter(start.to(bound.device) * bound)
        self.classifier = nn.Parameter(initial_classifier(self.group_class, num_classes))
        self.project_()

    @classmethod
    def over(cls, head: PrototypeHead, groups: int) -> GroupHead:
        """Groups over the prototypes of a stage-1 head, whose classifier they replace."""
        return cls(head.prototypes, len(head.classifier), groups)

    @property
    def valid(self) -> Tensor:
        """(C, J) which places of ``members`` are filled."""
        return self.members >= 0

    @property
    def unit_class(self) -> Tensor:
        """(G,) class of every column of the classifier."""
        return self.group_class

    def dense_weights(self) -> Tensor:
        """(G, P) the group weights over all prototypes, zero outside a group's class."""
        num_classes, groups, _ = self.weights.shape
        dense = self.weights.new_zeros(num_classes, groups, len(self.prototypes))
        index = self.members.clamp_min(0)[:, None].expand_as(self.weights)
        dense.scatter_add_(2, index, self.weights.detach() * self.valid[:, None])
        return dense.flatten(0, 1)

    def activations(self, similarities: Tensor) -> Tensor:
        """``exp(sum_j A[c, k, j] a_j)``.

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

    def forward(self, pyramid: Tensor) -> Output:
        """(B, S * D, h, w) pyramid map before the sigmoid to a full :class:`Output`."""
        with torch.autocast(pyramid.device.type, enabled=False):
            distances = self.prototypes(torch.sigmoid(pyramid.float()))
            similarities = similarity(distances)
        return self.decide(similarities, distances)

    def decide(self, similarities: Tensor, distances: Tensor | None = None) -> Output:
        """(B, P, h, w) similarities, and the distances they came from, to a full :class:`Output`."""
        with torch.autocast(similarities.device.type, enabled=False):
            groups = self.activations(similarities)
            logits = F.conv2d(groups, self.classifier[:, :, None, None])
        return Output(logits, groups, similarities, distances)

    @torch.no_grad()
    def project_(self) -> None:
        """Puts every row of ``weights`` back onto the simplex; belongs after each optimizer step."""
        self.weights.copy_(project_to_simplex(self.weights, self.valid[:, None].expand_as(self.weights)))

    @torch.no_grad()
    def pruned(self, threshold: float) -> tuple[GroupHead, Tensor]:
        """A head without weights below ``threshold`` and without the prototypes no group uses then.

        The largest weight of a group always stays. Weights are not rescaled (paper, section 3.3).

        Args:
            threshold: Smallest weight that stays, in 0-1.

        Returns:
            The pruned head and the (P',) indices of the prototypes that are left.
        """
        largest = self.weights >= self.weights.amax(dim=-1, keepdim=True)
        stays = ((self.weights >= threshold) | largest) & self.valid[:, None]
        sparse = torch.where(stays, self.weights, 0.0)
        used = self.members[(sparse > 0).any(dim=1)].sort().values
        return self._over_some(used, sparse), used

    @torch.no_grad()
    def select(self, keep: Tensor) -> GroupHead:
        """A head with some of the prototypes.

        A group's other members take over the weight of those that go, in proportion; all prototypes that are left of
        its class do, in equal parts, if all of its members go.

        Args:
            keep: (P',) indices of prototypes, ascending.
        """
        keep = keep.to(self.members.device)
        stays = (torch.isin(self.members, keep) & self.valid)[:, None]
        left = self.weights * stays
        left = torch.where(left.sum(dim=-1, keepdim=True) > 0, left, stays.to(left))
        return self._over_some(keep, left / left.sum(dim=-1, keepdim=True).clamp_min(1e-12))

    def _over_some(self, used: Tensor, weights: Tensor) -> GroupHead:
        """The head over some of the prototypes, with (C, K, J) weights over this head's members."""
        num_classes, groups, _ = weights.shape
        head = GroupHead(self.prototypes.select(used), num_classes, groups)
        head.weights.zero_()
        for index, members in enumerate(head.members):
            old = used[members[members >= 0]]
            column = (self.members[index][:, None] == old[None]).long().argmax(dim=0)
            head.weights[index, :, : len(old)] = weights[index][:, column]
        head.classifier.copy_(self.classifier)
        return head
