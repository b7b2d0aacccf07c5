"""Ablation: what happens to the classes when a part of the head is taken out, and whether it was foretold.

The explanation credits a group with ``V g`` of a class score, and a member with ``A a`` of its group's logarithm.
Taken out, each must take away as much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr
from torch import Tensor

from scaleprotoseg.data.dataset import SegmentationDataset, require_mask
from scaleprotoseg.data.labels import VOID
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.distributed import gather, share
from scaleprotoseg.evaluation.precision import in_double
from scaleprotoseg.model.groups import GroupHead
from scaleprotoseg.model.inference import in_tiles, require_prototypes
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.prototypes import PrototypeHead
from scaleprotoseg.model.units import units_of

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ablation:
    """What taking out each of N things, one at a time, does to the labelled cells of a split.

    Attributes:
        flips: (N,) share of cells whose class changes, 0-1; NaN if no cell is labelled.
        credit: (N,) mean size of the contribution to the margin, between a cell's class and the runner-up, that the
            explanation credits it with; NaN if no cell is labelled.
        error: Largest difference between a measured and a credited drop, relative to the largest that the same thing
            is credited with in the same picture.
        agreement: Rank correlation (Spearman) of ``flips`` and ``credit``, -1 to 1; None for fewer than three things,
            or where either is the same for all.
    """

    flips: Values
    credit: Values
    error: float
    agreement: float | None


def members_of(head: GroupHead) -> Tensor:
    """(N, 2) group and prototype of every weight in the groups of a head."""
    return head.dense_weights().nonzero().cpu()


@torch.inference_mode()
def ablate(
    network: Network, dataset: SegmentationDataset, progress: Callable[[Iterable[int]], Iterable[int]] = iter
) -> tuple[Ablation, Ablation | None]:
    """Takes out of a copy of the head each group, and each member of each group, and decides every cell again.

    Pictures are read once; several processes share them. All is in double precision, and at the cells of the feature
    map, for a group's logarithm is a sum only there; a cell has the label under its centre.

    Args:
        network: In eval mode.
        dataset: Pictures with masks.
        progress: Wraps the picture indices to show progress.

    Returns:
        Of the groups (without groups, of the prototypes in use), in the order of the last of
        :func:`~scaleprotoseg.model.units.units_of`; and of the members, in the order of :func:`members_of`, or
        None without groups.

    Raises:
        UserError: If the network has no prototypes, or a picture no mask.
    """
    head = in_double(require_prototypes(network))
    units = units_of(network)[-1].index.tolist()
    members = len(members_of(head)) if isinstance(head, GroupHead) else 0
    of_units, of_members, cells = np.zeros((3, len(units))), np.zeros((3, members)), 0
    for index in progress(share(len(dataset))):
        similarities = _labelled_cells(network, dataset, index).to(head.classifier.device)
        if similarities.shape[1]:
            cells += similarities.shape[1]
            _merge(of_units, _without_units(head, units, similarities))
            if isinstance(head, GroupHead):
                _merge(of_members, _without_members(head, similarities))
    first, *others = gather((of_units, of_members, cells))
    of_units, of_members, cells = first
    for their_units, their_members, their_cells in others:
        _merge(of_units, their_units)
        _merge(of_members, their_members)
        cells += their_cells
    return _ablation(of_units, cells), _ablation(of_members, cells) if isinstance(head, GroupHead) else None


def _labelled_cells(network: Network, dataset: SegmentationDataset, index: int) -> Tensor:
    """(P, n) similarities at the labelled cells of a picture, in double precision."""
    sample = dataset[index]
    mask = torch.from_numpy(require_mask(dataset, sample))
    similarities = in_tiles(network, sample.pixels, lambda tile: network(tile).similarities)
    return similarities[:, resize_labels(mask[None], similarities.shape[1:])[0] != VOID].double()


def _decide(head: PrototypeHead | GroupHead, similarities: Tensor) -> tuple[Tensor, Tensor]:
    """(C, n) scores and (U, n) activations of groups (without groups, of prototypes) from (P, n) similarities."""
    output = head.decide(similarities[None, :, None])
    return output.logits[0, :, 0], similarities if output.groups is None else output.groups[0, :, 0]


def _decide_without(head: PrototypeHead | GroupHead, weights: Tensor, similarities: Tensor) -> tuple[Tensor, Tensor]:
    """The same, with some of the head's weights at zero."""
    kept = weights.clone()
    weights.zero_()
    decided = _decide(head, similarities)
    weights.copy_(kept)
    return decided


def _two_best(scores: Tensor) -> tuple[Tensor, Tensor]:
    """(n,) the best and the second best of (C, n) scores."""
    best = scores.argmax(dim=0)
    return best, scores.scatter(0, best[None], -torch.inf).argmax(dim=0)


def _without_units(head: PrototypeHead | GroupHead, units: list[int], similarities: Tensor) -> Values:
    """(3, N) sums of flips and of credit over cells, and errors, of each unit."""
    scores, activations = _decide(head, similarities)
    best, second = _two_best(scores)
    rows = []
    for unit in units:
        weights = head.classifier[:, unit]
        credited = weights[:, None] * activations[unit]
        margin = (weights[best] - weights[second]) * activations[unit]
        left, _ = _decide_without(head, weights, similarities)
        rows.append(_row(left.argmax(dim=0) != best, margin, scores - left, credited))
    return np.array(rows).reshape(-1, 3).T


def _without_members(head: GroupHead, similarities: Tensor) -> Values:
    """(3, N) the same of each member of each group.

    What a member adds to the margin is what its group's contribution would lose without it.
    """
    scores, activations = _decide(head, similarities)
    best, second = _two_best(scores)
    rows = []
    for label, place, column in (head.weights * head.valid[:, None]).nonzero().tolist():
        group = label * head.weights.shape[1] + place
        weight = head.weights[label, place, column]
        credited = weight * similarities[head.members[label, column]]
        margin = (head.classifier[best, group] - head.classifier[second, group]) * activations[group]
        left, others = _decide_without(head, weight, similarities)
        measured = (activations[group] / others[group]).log()
        rows.append(_row(left.argmax(dim=0) != best, margin * -torch.expm1(-credited), measured, credited))
    return np.array(rows).reshape(-1, 3).T


def _row(flipped: Tensor, margin: Tensor, measured: Tensor, credited: Tensor) -> tuple[float, float, float]:
    """Sums of flips and of credit over cells, and the error."""
    scale = credited.abs().max().clamp_min(torch.finfo(credited.dtype).tiny)
    return float(flipped.sum()), float(margin.abs().sum()), float((measured - credited).abs().max() / scale)


def _merge(rows: Values, others: Values) -> None:
    """Adds the sums of other cells, and keeps the larger errors."""
    rows[:2] += others[:2]
    np.maximum(rows[2], others[2], out=rows[2])


def _ablation(rows: Values, cells: int) -> Ablation:
    with np.errstate(invalid="ignore"):
        flips, credit = rows[:2] / cells
    return Ablation(flips, credit, float(rows[2].max(initial=0)), rank_correlation(flips, credit))


def rank_correlation(first: Values, second: Values) -> float | None:
    """Spearman's correlation of two (N,) rows of values; None for fewer than three, or where one does not vary."""
    vary = len(first) > 2 and np.ptp(first) > 0 and np.ptp(second) > 0  # NaN is not above 0 either.
    return float(spearmanr(first, second).statistic) if vary else None
