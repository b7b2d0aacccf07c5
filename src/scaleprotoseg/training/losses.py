"""The losses of the method, as pure functions (sections 3.1 and 3.2 of the paper).

Of several processes, each computes the loss of its pictures, divided by what a process has on average: so the mean over
the processes, and of their gradients, is the loss of all pictures together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from scaleprotoseg.data.labels import VOID
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.distributed import average

LEAST_CELLS = 6
"""A class on fewer cells of a picture says nothing about correlations."""


def cross_entropy(logits: Tensor, mask: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Mean pixel cross-entropy, void ignored; 0 if everything is void.

    Args:
        logits: (B, C, h, w) scores.
        mask: (B, H, W) train ids. At another size than the logits, they are nearest-resized to (h, w).
        class_weights: (C,) weight of each class's pixels; None = equal.
    """
    if mask.shape[-2:] != logits.shape[-2:]:
        mask = resize_labels(mask, logits.shape[-2:])
    mask = mask.long()
    total = F.cross_entropy(logits, mask, weight=class_weights, ignore_index=VOID, reduction="sum")
    pixels = torch.bincount(mask.flatten(), minlength=VOID + 1)[: logits.shape[1]].to(total.dtype)
    return total / _share(pixels.sum() if class_weights is None else pixels @ class_weights)


def upsample(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) maps bilinearly upsampled to size (H, W), as ``F.interpolate`` with half-pixel centres does.

    Two matrix products: on a CPU, forward and backward take a quarter of the time.
    """
    rows, columns = (
        F.interpolate(torch.eye(old, device=maps.device)[None], size=new, mode="linear", align_corners=False)[0]
        for old, new in zip(maps.shape[-2:], size, strict=True)
    )
    return rows.T @ (maps @ columns)


def _share(count: Tensor) -> Tensor:
    """What to divide a sum by: what a process has on average; 1 if there is nothing, so that gradients are 0."""
    share = average(count)
    return share.where(share > 0, torch.ones_like(share))


def class_weights(pixels: Tensor, balance: float) -> Tensor:
    """Weights that lift rare classes: frequency to the power of ``-balance``.

    Args:
        pixels: (C,) labelled pixels per class.
        balance: 0 weighs all pixels alike, 1 weighs all classes alike.

    Returns:
        (C,) weights whose mean over the pixels is 1; a class without pixels weighs nothing.
    """
    frequency = pixels.double() / pixels.sum()
    weights = torch.where(pixels > 0, frequency.clamp_min(1e-12) ** -balance, 0.0)
    return (weights / (weights * frequency).sum()).float()


class OwnPrototypes:
    """Which prototypes are of each class and scale, as a table that a cell's own are looked up in.

    Only these are read: with many classes the rest is far larger than what a loss needs.

    Args:
        prototype_class: (P,) class of each prototype.
        prototype_scale: (P,) scale of each prototype.
        num_classes: Number of classes C.

    Attributes:
        members: (C, S, M) indices of each class's prototypes by scale, 0 where a class has fewer than M.
        exists: (C, S, M) which of them there are.
        left: (N,) first of every pair among M.
        right: (N,) second of it.
    """

    def __init__(self, prototype_class: Tensor, prototype_scale: Tensor, num_classes: int) -> None:
        self.num_classes = num_classes
        num_scales = int(prototype_scale.max()) + 1
        cell_of = prototype_class * num_scales + prototype_scale
        per_cell = torch.bincount(cell_of, minlength=num_classes * num_scales)
        width = int(per_cell.max())
        order = cell_of.argsort(stable=True)
        first = per_cell.cumsum(0) - per_cell
        slot = torch.arange(len(order), device=order.device) - first[cell_of[order]]
        table = torch.full((num_classes * num_scales, width), -1, device=order.device)
        table[cell_of[order], slot] = order
        members = table.view(num_classes, num_scales, width)
        self.exists = members >= 0
        self.members = members.clamp_min(0)
        self.left, self.right = torch.triu_indices(width, width, offset=1, device=order.device)

    @property
    def pairs(self) -> Tensor:
        """(C, S, N) which pairs there are."""
        return self.exists[..., self.left] & self.exists[..., self.right]


class Segments:
    """The labelled cells of a batch, by class and picture: one segment is one class in one picture.

    Args:
        own: The prototypes of each class.
        labels: (B, h, w) train ids.

    Attributes:
        segment: (n,) segment of each labelled cell.
        size: (B * C,) cells of each segment.
    """

    def __init__(self, own: OwnPrototypes, labels: Tensor) -> None:
        flat = labels.flatten().long()
        self._cells = (flat != VOID).nonzero().flatten()
        self._area = labels.shape[1] * labels.shape[2]
        self._members = own.members[flat[self._cells]]
        self.segment = self._cells // self._area * own.num_classes + flat[self._cells]
        self.size = torch.bincount(self.segment, minlength=len(labels) * own.num_classes)

    def own(self, maps: Tensor) -> Tensor:
        """(n, S, M) values of (B, P, h, w) maps at each cell's own prototypes, however they lie in memory."""
        members = self._members.flatten(1)
        if maps.is_contiguous():
            image, place = self._cells // self._area, self._cells % self._area
            index = (image[:, None] * maps.shape[1] + members) * self._area + place[:, None]
        else:
            maps = maps.permute(0, 2, 3, 1)
            index = self._cells[:, None] * maps.shape[-1] + members
        return maps.flatten().index_select(0, index.flatten()).view(self._members.shape)

    def sum(self, values: Tensor) -> Tensor:
        """(B * C, ...) sums of (n, ...) values over the cells of each segment."""
        return values.new_zeros(len(self.size), *values.shape[1:]).index_add(0, self.segment, values)

    def amax(self, values: Tensor) -> Tensor:
        """(B * C, ...) largest of (n, ...) values in each segment; no gradient flows through it."""
        peak = values.new_full((len(self.size), *values.shape[1:]), -torch.inf)
        index = self.segment.view(-1, *[1] * (values.ndim - 1)).expand_as(values)
        return peak.scatter_reduce_(0, index, values.detach(), "amax")

    def counted(self, table: Tensor, least: int) -> Tensor:
        """(B * C, S, n) a (C, S, n) table of classes for each segment, false in those on fewer cells than ``least``."""
        return (self.size >= least)[:, None, None] & table.repeat(len(self.size) // len(table), 1, 1)


class Diversity:
    """Keeps prototypes of one class and scale apart: mean of ``exp(-D_J)`` over pairs (paper, section 3.1).

    For picture b, class c on at least two cells, and two of its prototypes j < k at one scale, let v_j be the softmax
    over the class's cells of the distances d_j. ``D_J = (KL(v_j|v_k) + KL(v_k|v_j)) / 2``, which is half the sum over
    cells of ``(v_j - v_k) (d_j - d_k)``: one gather of each cell's own prototypes and three segment sums over
    (picture, class) give all pairs at once.

    Args:
        own: The prototypes of each class.
    """

    def __init__(self, own: OwnPrototypes) -> None:
        self.own = own

    def __call__(self, distances: Tensor, labels: Tensor) -> Tensor:
        """The loss; 0 if there is no pair.

        Args:
            distances: (B, P, h, w) squared distances.
            labels: (B, h, w) train ids.

        Returns:
            Scalar in 0-1.
        """
        segments = Segments(self.own, labels)
        own = segments.own(distances)
        mass = (own - segments.amax(own)[segments.segment]).exp()
        shares = mass / segments.sum(mass)[segments.segment]
        left, right = self.own.left, self.own.right
        sums = segments.sum((shares[..., left] - shares[..., right]) * (own[..., left] - own[..., right]))
        return _mean_of((-0.5 * sums).exp(), segments.counted(self.own.pairs, 2))


class Twins:
    """Makes prototypes say the same of a picture and of its noisy twin, and each something of its own.

    Within a class in a picture, let r_jk be the correlation over cells of prototype j's similarity on the picture with
    prototype k's on the twin. ``invariance`` is the mean of ``1 - r_jj``: where a prototype points must not depend on
    noise. ``redundancy`` is the mean of ``max(0, r_jk + r_kj) / 2`` over pairs of one scale: two prototypes must not
    point at the same place. After Barlow Twins (Zbontar et al., 2021), with cells in the place of pictures.

    Args:
        own: The prototypes of each class.
    """

    def __init__(self, own: OwnPrototypes) -> None:
        self.own = own

    def __call__(self, similarities: Tensor, twin: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Both losses; 0 if there is nothing to compare.

        Args:
            similarities: (B, P, h, w) of the pictures.
            twin: (B, P, h, w) of their twins.
            labels: (B, h, w) train ids.

        Returns:
            ``invariance`` in 0-2 and ``redundancy`` in 0-1.
        """
        segments = Segments(self.own, labels)
        one, other = (_standardised(segments, segments.own(maps)) for maps in (similarities, twin))
        left, right = self.own.left, self.own.right
        both = segments.sum(one[..., left] * other[..., right] + one[..., right] * other[..., left]) / 2
        redundancy = _mean_of(both.clamp_min(0), segments.counted(self.own.pairs, LEAST_CELLS))
        return _mean_of(1 - segments.sum(one * other), segments.counted(self.own.exists, LEAST_CELLS)), redundancy


class Pointing:
    """Makes prototypes point at parts of their class.

    Within a class in a picture that shows the part, the loss is 1 - the correlation over cells of the prototype's
    similarity with the share of the cell that the part takes; as in :class:`Twins`, what hardly varies hardly
    correlates.

    Args:
        own: The prototypes of each class.
        part_of: (P,) part id of each prototype, from 1; 0 for those without.
    """

    def __init__(self, own: OwnPrototypes, part_of: Tensor) -> None:
        self.own = own
        self.part_of = part_of

    def __call__(self, similarities: Tensor, parts: Tensor, labels: Tensor) -> Tensor:
        """The loss; 0 if no part is shown.

        Args:
            similarities: (B, P, h, w) of the pictures.
            parts: (B, H, W) part ids, 0 where there is none.
            labels: (B, h, w) train ids.

        Returns:
            Scalar in 0-2.
        """
        segments = Segments(self.own, labels)
        shares = shares_of_cells(parts, int(self.part_of.max()), similarities.shape[-2:])
        where = segments.own(shares[:, self.part_of])
        point = _standardised(segments, segments.own(similarities)) * _standardised(segments, where)
        shown = segments.counted(self.own.exists, LEAST_CELLS) & (segments.sum(where) > 0)
        return _mean_of(1 - segments.sum(point), shown)


def shares_of_cells(parts: Tensor, count: int, size: Sequence[int]) -> Tensor:
    """How much of each cell a part takes, in the mean number of a cell's pixels: cells may differ by a row or column.

    Args:
        parts: (B, H, W) part ids, 0 where there is none.
        count: Parts T that are looked at, the first ones.
        size: (h, w) of the cells.

    Returns:
        (B, T + 1, h, w) shares by part id; those of 0 are 0.
    """
    rows, columns = (
        torch.arange(old, device=parts.device) * new // old for old, new in zip(parts.shape[1:], size, strict=True)
    )
    picture = torch.arange(len(parts), device=parts.device)[:, None, None]
    place = ((picture * (count + 1) + parts) * size[0] + rows[:, None]) * size[1] + columns
    of_parts = place[(parts > 0) & (parts <= count)]
    pixels = torch.bincount(of_parts, minlength=len(parts) * (count + 1) * size[0] * size[1])
    area = parts.shape[1] * parts.shape[2] / (size[0] * size[1])
    return pixels.view(len(parts), count + 1, *size) / area


def _standardised(segments: Segments, values: Tensor) -> Tensor:
    """(n, S, M) values with mean 0 and length 1 over each segment."""
    size = segments.size.clamp_min(1)[:, None, None].to(values.dtype)
    values = values - (segments.sum(values) / size)[segments.segment]
    # What is the same everywhere has no direction; its length must not be 0.
    length = (segments.sum(values.square()) + 1e-4 * size).sqrt()
    return values / length[segments.segment]


def _mean_of(values: Tensor, counted: Tensor) -> Tensor:
    """Mean of the values that count, over all processes."""
    return (values * counted).sum() / _share(counted.sum().to(values.dtype))


def distillation(logits: Tensor, taught: Tensor) -> Tensor:
    """Mean over cells of KL(teacher || student), labelled or not (Hinton et al., 2015, at temperature 1).

    Args:
        logits: (B, C, h, w) of the student.
        taught: (B, C, h', w') of the teacher.
    """
    taught = F.interpolate(taught.float(), size=logits.shape[-2:], mode="bilinear", align_corners=False)
    student, teacher = logits.float().log_softmax(dim=1), taught.log_softmax(dim=1)
    return F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1).mean()


def foreign_l1(classifier: Tensor, unit_class: Tensor) -> Tensor:
    """L1 norm of the classifier weights that link a prototype or group to a foreign class.

    Args:
        classifier: (C, U) weights.
        unit_class: (U,) class of each prototype or group.
    """
    own = unit_class == torch.arange(len(classifier), device=classifier.device)[:, None]
    return classifier.masked_fill(own, 0).abs().sum()


def group_entropy(weights: Tensor, valid: Tensor) -> Tensor:
    """Mean normalised entropy of the groups' weights: 1 for uniform groups, 0 for one member each.

    ``-sum A log(A + 1e-5) / log(n)`` for a class with n members (paper, section 3.2); a class with one counts 0.

    Args:
        weights: (C, K, J) rows on the simplex.
        valid: (C, J) which members exist.
    """
    entropy = -(weights * (weights + 1e-5).log() * valid[:, None]).sum(dim=-1)
    members = valid.sum(dim=-1, keepdim=True)
    return (entropy * (members > 1) / members.clamp_min(2).double().log().to(entropy.dtype)).mean()
