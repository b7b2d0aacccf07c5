"""Prototypes: latent vectors that cells are compared with, each of one class and one scale."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-4
"""Constant that bounds the similarity at distance 0 to log(1 / EPSILON), about 9.2."""


def similarity(distances: Tensor) -> Tensor:
    """Return the similarity ``log((d + 1) / (d + EPSILON))`` of squared distances ``d`` (ProtoSeg, section 3).

    The formula is computed with one logarithm.

    Args:
        distances: Squared distances >= 0, of any shape.

    Returns:
        Similarities in (0, log(1 / EPSILON)], of the same shape.

    >>> similarity(torch.tensor([0.0, 1.0, 100.0]))
    tensor([9.2103, 0.6930, 0.0099])
    """
    return torch.log1p((1 - EPSILON) / (distances + EPSILON))


class PrototypeLayer(nn.Module):
    """Squared distances between the pyramid map and the prototypes of the same scale.

    Prototypes are ordered by scale; a class may have any number of prototypes at any scale.

    Args:
        classes: (P,) class of each prototype.
        scales: (P,) scale of each prototype, ascending.
        channels: Length D of a prototype.
        num_scales: Number of scales S in the pyramid.

    Attributes:
        vectors: (P, D) parameter, initially uniform in [0, 1].
        prototype_class: (P,) buffer, class of each prototype.
        prototype_scale: (P,) buffer, scale of each prototype.

    >>> layer = PrototypeLayer.uniform(num_classes=2, num_scales=1, per_class=2, channels=3)
    >>> layer.prototype_class.tolist(), layer(torch.rand(1, 3, 5, 5)).shape
    ([0, 0, 1, 1], torch.Size([1, 4, 5, 5]))
    """

    prototype_class: Tensor
    prototype_scale: Tensor

    def __init__(self, classes: Tensor, scales: Tensor, channels: int, num_scales: int) -> None:
        super().__init__()
        self.num_scales = num_scales
        self.vectors = nn.Parameter(torch.rand(len(classes), channels, device=classes.device))
        self.register_buffer("prototype_class", classes.long())
        self.register_buffer("prototype_scale", scales.long())
        self._per_scale = torch.bincount(scales.long().cpu(), minlength=num_scales).tolist()

    @classmethod
    def uniform(cls, num_classes: int, num_scales: int, per_class: int, channels: int) -> PrototypeLayer:
        """Build a layer with the same number of prototypes for every class and scale.

        The prototypes of a scale are ordered by class; there are P = num_scales * num_classes * per_class.
        """
        scales = torch.arange(num_scales).repeat_interleave(num_classes * per_class)
        classes = torch.arange(num_classes).repeat_interleave(per_class).repeat(num_scales)
        return cls(classes, scales, channels, num_scales)

    def __len__(self) -> int:
        return len(self.vectors)

    def forward(self, latent: Tensor) -> Tensor:
        """Compute the squared distance of every cell to every prototype, at the prototype's scale.

        Args:
            latent: (B, S * D, h, w) pyramid map after the sigmoid, float32.

        Returns:
            (B, P, h, w) squared distances >= 0.
        """
        # |z - p|^2 is expanded to products. Both are shifted by 0.5 first: cancellation loses fewer digits of values
        # that are centered at 0 than of values in (0, 1).
        distances = []
        vectors = torch.split(self.vectors - 0.5, self._per_scale)
        for maps, rows in zip((latent - 0.5).chunk(self.num_scales, dim=1), vectors, strict=True):
            if not len(rows):  # pruning may leave a scale without prototypes
                continue
            products = F.conv2d(maps, -2 * rows[:, :, None, None], rows.square().sum(dim=1))
            distances.append(products + maps.square().sum(dim=1, keepdim=True))
        return torch.cat(distances, dim=1).clamp_min(0)

    def select(self, keep: Tensor) -> PrototypeLayer:
        """Return a layer with only the prototypes whose (P',) indices, ascending, are in ``keep``."""
        layer = PrototypeLayer(
            self.prototype_class[keep], self.prototype_scale[keep], self.vectors.shape[1], self.num_scales
        )
        layer.vectors.data.copy_(self.vectors.data[keep])
        return layer
