"""The losses of the method, as pure functions (sections 3.1 and 3.2 of the paper).

Of several processes, each computes the loss of its pictures, divided by what a process has on average: so the mean over
the processes, and of their gradients, is the loss of all pictures together.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from scaleprotoseg.data.labels import VOID
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.distributed import average


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
    valid = mask != VOID
    weight = valid.sum() if class_weights is None else class_weights[mask[valid]].sum()
    return total / _share(weight.to(total.dtype))


def _share(count: Tensor) -> Tensor:
    """What to divide a sum by: what a process has on average, and more than 0."""
    return average(count).clamp_min(torch.finfo(count.dtype).tiny)


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


class Diversity:
    """Keeps prototypes of one class and scale apart: mean of ``exp(-D_J)`` over pairs (paper, section 3.1).

    For picture b, class c on at least two cells, and two of its prototypes j < k at one scale, let v_j be the softmax
    over the class's cells of the distances d_j. ``D_J = (KL(v_j|v_k) + KL(v_k|v_j)) / 2``, which is half the sum over
    cells of ``(v_j - v_k) (d_j - d_k)``: one gather of each cell's own prototypes and three segment sums over
    (picture, class) give all pairs at once.

    Args:
        prototype_class: (P,) class of each prototype.
        prototype_scale: (P,) scale of each prototype.
        num_classes: Number of classes C.
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
        self.left, self.right = torch.triu_indices(width, width, offset=1, device=order.device)
        self.pairs = (members[..., self.left] >= 0) & (members[..., self.right] >= 0)
        self.members = members.clamp_min(0)

    def __call__(self, distances: Tensor, labels: Tensor) -> Tensor:
        """The loss; 0 if there is no pair.

        Args:
            distances: (B, P, h, w) squared distances.
            labels: (B, h, w) train ids.

        Returns:
            Scalar in 0-1.
        """
        batch, count, height, width = distances.shape
        area = height * width
        flat = labels.flatten().long()
        cells = (flat != VOID).nonzero().flatten()
        classes, image, place = flat[cells], cells // area, cells % area
        segment = image * self.num_classes + classes
        segments = batch * self.num_classes
        size = torch.bincount(segment, minlength=segments)

        # Only the distances to a cell's own prototypes are read, in whichever order they lie in memory: with many
        # classes the rest is far larger than what the loss needs.
        members = self.members[classes].flatten(1)
        if distances.is_contiguous():
            index = (image[:, None] * count + members) * area + place[:, None]
        else:
            distances = distances.permute(0, 2, 3, 1)
            index = cells[:, None] * count + members
        own = distances.flatten().index_select(0, index.flatten()).view(index.shape)
        peak = own.new_full((segments, own.shape[1]), -torch.inf)
        peak.scatter_reduce_(0, segment[:, None].expand_as(own), own.detach(), "amax")
        mass = (own - peak[segment]).exp()
        total = mass.new_zeros(segments, own.shape[1]).index_add(0, segment, mass)
        shares = (mass / total[segment]).view(len(cells), *self.members.shape[1:])
        own = own.view_as(shares)

        left, right = self.left, self.right
        terms = (shares[..., left] - shares[..., right]) * (own[..., left] - own[..., right])
        sums = terms.new_zeros(segments, *terms.shape[1:]).index_add(0, segment, terms)
        counted = (size >= 2)[:, None, None] & self.pairs.repeat(batch, 1, 1)
        return ((-0.5 * sums).exp() * counted).sum() / _share(counted.sum().to(sums.dtype))


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
