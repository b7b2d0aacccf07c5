"""Prototypes: latent vectors that pixels are compared with, each of one class and one scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scaleprotoseg.model.output import Output

EPSILON = 1e-4
"""Bounds the similarity of a perfect match at log(1 / EPSILON), about 9.2."""


def similarity(distances: Tensor) -> Tensor:
    """``log((d + 1) / (d + eps))``, the similarity of a squared distance ``d`` (ProtoSeg, section 3).

    Args:
        distances: Squared distances >= 0, any shape.

    Returns:
        Similarities in (0, log(1 / EPSILON)], same shape, written with one logarithm.
    """
    return torch.log1p((1 - EPSILON) / (distances + EPSILON))


def initial_classifier(unit_class: Tensor, num_classes: int) -> Tensor:
    """(C, U) weights: 1 from a class's own units (prototypes or groups), -0.5 from all others."""
    own = unit_class == torch.arange(num_classes, device=unit_class.device)[:, None]
    return torch.where(own, 1.0, -0.5)


class PrototypeLayer(nn.Module):
    """Squared distances between pyramid maps and prototypes of the same scale.

    Prototypes are ordered by scale, then class; a class may have any number at any scale.

    Args:
        classes: (P,) class of each prototype.
        scales: (P,) scale of each prototype, ascending.
        channels: Width D of a prototype.
        num_scales: Scales in the pyramid.

    Attributes:
        vectors: (P, D) parameter, uniform in [0, 1] at start.
        prototype_class: (P,) buffer.
        prototype_scale: (P,) buffer.
    """

    prototype_class: Tensor
    prototype_scale: Tensor

    def __init__(self, classes: Tensor, scales: Tensor, channels: int, num_scales: int) -> None:
        super().__init__()
        self.num_scales = num_scales
        self.vectors = nn.Parameter(torch.rand(len(classes), channels, device=classes.device))
        self.register_buffer("prototype_class", classes.long())
        self.register_buffer("prototype_scale", scales.long())
        self._counts = torch.bincount(scales.long().cpu(), minlength=num_scales).tolist()

    @classmethod
    def uniform(cls, num_classes: int, num_scales: int, per_class: int, channels: int) -> PrototypeLayer:
        """The same number of prototypes for every class and scale: P = scales * classes * per_class."""
        scales = torch.arange(num_scales).repeat_interleave(num_classes * per_class)
        classes = torch.arange(num_classes).repeat_interleave(per_class).repeat(num_scales)
        return cls(classes, scales, channels, num_scales)

    def __len__(self) -> int:
        return len(self.vectors)

    def forward(self, latent: Tensor) -> Tensor:
        """Distances to the prototypes of each scale.

        Args:
            latent: (B, S * D, h, w) maps after the sigmoid, float32.

        Returns:
            (B, P, h, w) squared distances >= 0.
        """
        # |z - p|^2 is expanded to products; both are moved by 0.5 first, for values in (0, 1) then lose
        # less to cancellation.
        distances = []
        vectors = torch.split(self.vectors - 0.5, self._counts)
        for maps, rows in zip((latent - 0.5).chunk(self.num_scales, dim=1), vectors, strict=True):
            if not len(rows):  # pruning may leave a scale without prototypes
                continue
            products = F.conv2d(maps, -2 * rows[:, :, None, None], rows.square().sum(dim=1))
            distances.append(products + maps.square().sum(dim=1, keepdim=True))
        return torch.cat(distances, dim=1).clamp_min(0)

    def select(self, keep: Tensor) -> PrototypeLayer:
        """A layer of the prototypes whose indices (ascending) are in ``keep``."""
        layer = PrototypeLayer(
            self.prototype_class[keep], self.prototype_scale[keep], self.vectors.shape[1], self.num_scales
        )
        layer.vectors.data.copy_(self.vectors.data[keep])
        return layer


class PrototypeHead(nn.Module):
    """Class scores as weighted sums of similarities, without bias (stage 1).

    Args:
        prototypes: The prototype layer.
        num_classes: Number of classes C.

    Attributes:
        classifier: (C, P) parameter: 1 to a prototype's own class, -0.5 to the others at start.
    """

    def __init__(self, prototypes: PrototypeLayer, num_classes: int) -> None:
        super().__init__()
        self.prototypes = prototypes
        self.classifier = nn.Parameter(initial_classifier(prototypes.prototype_class, num_classes))

    @property
    def unit_class(self) -> Tensor:
        """(P,) class of every column of the classifier."""
        return self.prototypes.prototype_class

    def forward(self, pyramid: Tensor) -> Output:
        """(B, S * D, h, w) pyramid map before the sigmoid to an :class:`Output` without groups."""
        with torch.autocast(pyramid.device.type, enabled=False):
            distances = self.prototypes(torch.sigmoid(pyramid.float()))
            similarities = similarity(distances)
        return self.decide(similarities, distances)

    def decide(self, similarities: Tensor, distances: Tensor | None = None) -> Output:
        """(B, P, h, w) similarities, and the distances they came from, to an :class:`Output` without groups."""
        with torch.autocast(similarities.device.type, enabled=False):
            logits = F.conv2d(similarities, self.classifier[:, :, None, None])
        return Output(logits, None, similarities, distances)

    def select(self, keep: Tensor) -> PrototypeHead:
        """A head of the prototypes whose indices (ascending) are in ``keep``, with their classifier columns."""
        head = PrototypeHead(self.prototypes.select(keep), len(self.classifier))
        head.classifier.data.copy_(self.classifier.data[:, keep])
        return head

    def merge(self, keep: Tensor, into: Sequence[int]) -> PrototypeHead:
        """A head whose duplicate prototypes are one: their classifier columns add up, so the scores stay.

        Args:
            keep: Indices of the prototypes that stay, ascending.
            into: For every prototype, the position in ``keep`` of the one it becomes.
        """
        head = PrototypeHead(self.prototypes.select(keep), len(self.classifier))
        columns = torch.zeros_like(head.classifier.data)
        columns.index_add_(1, torch.as_tensor(into, device=columns.device), self.classifier.data)
        head.classifier.data.copy_(columns)
        return head
