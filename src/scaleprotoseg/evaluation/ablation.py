"""Ablation: effect of removing groups and their members, compared with the contributions that explanations give them.

An explanation gives each group a contribution ``V g`` to a class score, and each member a contribution ``A a`` to the
logarithm of its group. Removing a group or member must reduce the score or the logarithm by exactly its contribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr
from torch import Tensor

from scaleprotoseg.data.dataset import SegmentationDataset, require_mask
from scaleprotoseg.data.labels import VOID
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.distributed import gather, shard
from scaleprotoseg.evaluation.context import Context
from scaleprotoseg.evaluation.double_precision import in_double
from scaleprotoseg.inference.similarities import similarities_of
from scaleprotoseg.inference.units import units_of
from scaleprotoseg.model.heads.base import PrototypicalHead
from scaleprotoseg.model.network import Network
from scaleprotoseg.progress import Progress

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ablation:
    """Effect of removing each of N units or members, one at a time, on the labeled cells of a split.

    Attributes:
        flips: (N,) fraction of cells whose class changes, 0-1; NaN if no cell is labeled.
        credit: (N,) mean absolute contribution, according to the explanation, to the margin between a cell's class and
            the runner-up; NaN if no cell is labeled.
        error: Largest difference between a measured and a predicted reduction, relative to the largest absolute
            reduction that is predicted for the same unit or member in the same image.
        agreement: Rank correlation (Spearman) of ``flips`` and ``credit``, -1 to 1; None for fewer than three units or
            members, or if either is the same for all of them.
    """

    flips: Values
    credit: Values
    error: float
    agreement: float | None


def both_ablations(context: Context) -> tuple[Ablation, Ablation | None]:
    """Compute the :func:`ablate` of a model."""
    return ablate(context.network, context.dataset, context.progress)


def unit_ablation(context: Context) -> dict[str, Any]:
    """Summarize the ablation of groups, or of prototypes in a model without groups."""
    return _summary(context.once(both_ablations)[0])


def member_ablation(context: Context) -> dict[str, Any] | None:
    """Summarize the ablation of the members of groups; None without groups."""
    members = context.once(both_ablations)[1]
    return None if members is None else _summary(members)


def _summary(ablation: Ablation) -> dict[str, Any]:
    """Summarize over units or members; values that were not measured are None."""
    flips = ablation.flips[~np.isnan(ablation.flips)]
    return {
        "flips": float(flips.mean()) if flips.size else None,
        "largest_flips": float(flips.max()) if flips.size else None,
        "error": ablation.error,
        "agreement": ablation.agreement,
    }


@torch.inference_mode()
def ablate(
    network: Network, dataset: SegmentationDataset, progress: Progress = iter
) -> tuple[Ablation, Ablation | None]:
    """Remove each group and each member of each group from a copy of the head, and compute all scores again.

    The scores are computed in double precision, at the cells of the feature map, because the logarithm of a group is a
    sum only there. A cell has the label of the pixel at its center. The network processes each image once; several
    processes share the images.

    Args:
        network: Network in eval mode.
        dataset: Images with masks.
        progress: Wraps the image indices to show progress.

    Returns:
        The ablation of the groups (without groups, of the prototypes in use), in the order of the last entry of
        :func:`~scaleprotoseg.inference.units.units_of`; and the ablation of the members, in the order of the head's
        ``member_weights``, or None without groups.

    Raises:
        UserError: If the network has no prototypes, or an image has no mask.
    """
    head = in_double(network.prototype_head)
    units = units_of(network)[-1].index.tolist()
    of_units, of_members, cells = _Totals.zeros(len(units)), _Totals.zeros(len(head.member_weights())), 0
    for index in progress(shard(len(dataset))):
        similarities = _labeled_cells(network, dataset, index).to(head.classifier.device)
        if similarities.shape[1]:
            cells += similarities.shape[1]
            decision = _decide(head, similarities)
            of_units.add(_without_units(head, units, similarities, decision))
            of_members.add(_without_members(head, similarities, decision))
    first, *others = gather((of_units, of_members, cells))
    of_units, of_members, cells = first
    for other_units, other_members, other_cells in others:
        of_units.add(other_units)
        of_members.add(other_members)
        cells += other_cells
    return of_units.over(cells), of_members.over(cells) if head.level == "groups" else None


@dataclass(frozen=True)
class _Totals:
    """Sums over cells, for N units or members.

    Attributes:
        flips: (N,) numbers of cells whose class changes.
        credit: (N,) sums of the absolute contributions to the margin.
        error: (N,) largest relative errors.
    """

    flips: Values
    credit: Values
    error: Values

    @classmethod
    def zeros(cls, count: int) -> _Totals:
        return cls(np.zeros(count), np.zeros(count), np.zeros(count))

    @classmethod
    def of(cls, rows: list[tuple[float, float, float]]) -> _Totals:
        """Build the totals from flips, credit and error of each unit or member."""
        return cls(*np.array(rows).reshape(-1, 3).T)

    def add(self, other: _Totals) -> None:
        """Add the totals of other cells."""
        np.add(self.flips, other.flips, out=self.flips)
        np.add(self.credit, other.credit, out=self.credit)
        np.maximum(self.error, other.error, out=self.error)

    def over(self, cells: int) -> Ablation:
        """Divide the sums by the number of cells."""
        with np.errstate(invalid="ignore"):
            flips, credit = self.flips / cells, self.credit / cells
        return Ablation(flips, credit, float(self.error.max(initial=0)), rank_correlation(flips, credit))


def _labeled_cells(network: Network, dataset: SegmentationDataset, index: int) -> Tensor:
    """Compute the (P, n) similarities of the labeled cells of an image, in double precision."""
    sample = dataset[index]
    mask = torch.from_numpy(require_mask(dataset, sample))
    similarities = similarities_of(network, sample.pixels)
    return similarities[:, resize_labels(mask[None], similarities.shape[1:])[0] != VOID].double()


@dataclass(frozen=True)
class _Decision:
    """Scores of n cells.

    Attributes:
        logits: (C, n) class scores.
        units: (U, n) activations of the groups (without groups, of the prototypes).
        best: (n,) class with the highest score.
    """

    logits: Tensor
    units: Tensor
    best: Tensor

    def runner_up(self) -> Tensor:
        """Return the (n,) class with the second highest score."""
        return self.logits.scatter(0, self.best[None], -torch.inf).argmax(dim=0)


def _decide(head: PrototypicalHead, similarities: Tensor) -> _Decision:
    """Decide from (P, n) similarities."""
    output = head.decide(similarities[None, :, None])
    logits = output.logits[0, :, 0]
    units = similarities if output.groups is None else output.groups[0, :, 0]
    return _Decision(logits, units, logits.argmax(dim=0))


def _decide_without(head: PrototypicalHead, weights: Tensor, similarities: Tensor) -> _Decision:
    """Decide from (P, n) similarities with some of the head's weights set to zero."""
    original = weights.clone()
    weights.zero_()
    decision = _decide(head, similarities)
    weights.copy_(original)
    return decision


def _without_units(head: PrototypicalHead, units: list[int], similarities: Tensor, decision: _Decision) -> _Totals:
    """Remove each unit: its contribution to every class score is predicted to vanish."""
    best, second = decision.best, decision.runner_up()
    rows = []
    for unit in units:
        weights = head.classifier[:, unit]
        predicted = weights[:, None] * decision.units[unit]
        margin = (weights[best] - weights[second]) * decision.units[unit]
        without = _decide_without(head, weights, similarities)
        rows.append(_row(without.best != best, margin, decision.logits - without.logits, predicted))
    return _Totals.of(rows)


def _without_members(head: PrototypicalHead, similarities: Tensor, decision: _Decision) -> _Totals:
    """Remove each member of each group: its contribution to the logarithm of the group is predicted to vanish.

    The contribution of a member to the margin is the amount by which the contribution of its group would shrink.
    """
    best, second = decision.best, decision.runner_up()
    rows = []
    for group, prototype, weight in head.member_weights():
        predicted = weight * similarities[prototype]
        margin = (head.classifier[best, group] - head.classifier[second, group]) * decision.units[group]
        without = _decide_without(head, weight, similarities)
        measured = (decision.units[group] / without.units[group]).log()
        rows.append(_row(without.best != best, margin * -torch.expm1(-predicted), measured, predicted))
    return _Totals.of(rows)


def _row(flipped: Tensor, margin: Tensor, measured: Tensor, predicted: Tensor) -> tuple[float, float, float]:
    """Compute the sums of flips and credit over cells, and the relative error of the prediction."""
    scale = predicted.abs().max().clamp_min(torch.finfo(predicted.dtype).tiny)
    return float(flipped.sum()), float(margin.abs().sum()), float((measured - predicted).abs().max() / scale)


def rank_correlation(first: Values, second: Values) -> float | None:
    """Compute Spearman's rank correlation of two sets of values.

    Args:
        first: (N,) values.
        second: (N,) values.

    Returns:
        Correlation, -1 to 1; None for fewer than three values, if one set is constant, or if a value is NaN.

    Example:
        >>> rank_correlation(np.array([0.1, 0.2, 0.4]), np.array([3.0, 5.0, 4.0]))
        0.5
        >>> rank_correlation(np.array([0.1, 0.2, 0.4]), np.array([3.0, 3.0, 3.0])) is None
        True
    """
    vary = len(first) > 2 and np.ptp(first) > 0 and np.ptp(second) > 0  # NaN > 0 is false.
    return float(spearmanr(first, second).statistic) if vary else None
