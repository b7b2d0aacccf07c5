"""The cells of a batch grouped by class and image, and the values of each cell's own prototypes.

The prototype losses compare prototypes of one class over the cells of this class, and only read their values: with many
classes, the values of all other prototypes would take far more memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scaleprotoseg.data.labels import VOID


class OwnPrototypes:
    """A table of the prototypes of each class and scale.

    Args:
        prototype_class: (P,) class of each prototype.
        prototype_scale: (P,) scale of each prototype.
        num_classes: Number of classes C.

    Attributes:
        num_classes: Number of classes C.
        members: (C, S, M) indices of the prototypes of each class and scale, filled up with 0 to the largest number M.
        exists: (C, S, M) True for the entries of ``members`` that are not filled up.
        left: (N,) first member of each of the N = M (M - 1) / 2 pairs.
        right: (N,) second member of each pair.

    >>> own = OwnPrototypes(torch.tensor([0, 0, 1]), torch.tensor([0, 0, 0]), num_classes=2)
    >>> own.members.tolist(), own.pairs.tolist()
    ([[[0, 1]], [[2, 0]]], [[[True]], [[False]]])
    """

    def __init__(self, prototype_class: Tensor, prototype_scale: Tensor, num_classes: int) -> None:
        self.num_classes = num_classes
        num_scales = int(prototype_scale.max()) + 1
        row_of = prototype_class * num_scales + prototype_scale
        per_row = torch.bincount(row_of, minlength=num_classes * num_scales)
        width = int(per_row.max())
        order = row_of.argsort(stable=True)
        first = per_row.cumsum(0) - per_row
        column = torch.arange(len(order), device=order.device) - first[row_of[order]]
        table = torch.full((num_classes * num_scales, width), -1, device=order.device)
        table[row_of[order], column] = order
        members = table.view(num_classes, num_scales, width)
        self.exists = members >= 0
        self.members = members.clamp_min(0)
        self.left, self.right = torch.triu_indices(width, width, offset=1, device=order.device)

    @property
    def pairs(self) -> Tensor:
        """(C, S, N) True for the pairs of two prototypes that exist."""
        return self.exists[..., self.left] & self.exists[..., self.right]


class Segments:
    """The labeled cells of a batch by segment; a segment is all cells of one class in one image.

    Args:
        own: The prototypes of each class.
        labels: (B, h, w) train ids.

    Attributes:
        segment: (n,) index of the segment of each labeled cell, ``image * C + class``.
        size: (B * C,) number of cells in each segment.
    """

    def __init__(self, own: OwnPrototypes, labels: Tensor) -> None:
        flat = labels.flatten().long()
        self._cells = (flat != VOID).nonzero().flatten()
        self._area = labels.shape[1] * labels.shape[2]
        self._members = own.members[flat[self._cells]]
        self.segment = self._cells // self._area * own.num_classes + flat[self._cells]
        self.size = torch.bincount(self.segment, minlength=len(labels) * own.num_classes)

    def own_values(self, maps: Tensor) -> Tensor:
        """Return the (n, S, M) values of (B, P, h, w) maps at each labeled cell, for the prototypes of its class.

        The maps may have any memory layout.
        """
        members = self._members.flatten(1)
        if maps.is_contiguous():
            image, cell = self._cells // self._area, self._cells % self._area
            index = (image[:, None] * maps.shape[1] + members) * self._area + cell[:, None]
        else:
            maps = maps.permute(0, 2, 3, 1)
            index = self._cells[:, None] * maps.shape[-1] + members
        return maps.flatten().index_select(0, index.flatten()).view(self._members.shape)

    def sum(self, values: Tensor) -> Tensor:
        """Return the (B * C, ...) sums of (n, ...) values over the cells of each segment."""
        return values.new_zeros(len(self.size), *values.shape[1:]).index_add(0, self.segment, values)

    def amax(self, values: Tensor) -> Tensor:
        """Return the (B * C, ...) maxima of (n, ...) values over the cells of each segment, without gradient."""
        peak = values.new_full((len(self.size), *values.shape[1:]), -torch.inf)
        index = self.segment.view(-1, *[1] * (values.ndim - 1)).expand_as(values)
        return peak.scatter_reduce_(0, index, values.detach(), "amax")

    def mask(self, table: Tensor, min_cells: int) -> Tensor:
        """Return the rows of a (C, S, n) table for the (B * C) segments, False for those with fewer cells.

        Args:
            table: (C, S, n) booleans for each class.
            min_cells: Smallest number of cells of a segment that is used.
        """
        return (self.size >= min_cells)[:, None, None] & table.repeat(len(self.size) // len(table), 1, 1)
