"""Which part of its class each prototype points at, and is to point at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from scaleprotoseg.data.dataset import SegmentationDataset, require_mask
from scaleprotoseg.model.inference import require_prototypes
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.part_options import PAPER
from scaleprotoseg.model.parts import Tally, class_of_parts, tally_parts, targets_of
from scaleprotoseg.model.units import Units, activations_of, units_of


def showing_parts(dataset: SegmentationDataset) -> Iterator[int]:
    """The pictures that show a part of a class that is labelled in them."""
    part_class = class_of_parts(dataset)
    for index in range(len(dataset)):
        sample = dataset[index]
        if targets_of(sample, require_mask(dataset, sample), part_class, PAPER):
            yield index


def tally_prototypes(
    network: Network, dataset: SegmentationDataset, progress: Callable[[Iterable[int]], Iterable[int]] = iter
) -> tuple[Units, Tally]:
    """The prototypes in use, and what they hit.

    Args:
        network: With prototypes, in eval mode.
        dataset: Training pictures, un-augmented, with parts.
        progress: Wraps the picture indices to show progress.
    """
    prototypes = units_of(network)[:1]
    (tally,) = tally_parts(activations_of(network, prototypes), prototypes, dataset, network.std, progress=progress)
    return prototypes[0], tally


def part_of_prototypes(
    network: Network, dataset: SegmentationDataset, progress: Callable[[Iterable[int]], Iterable[int]] = iter
) -> Tensor:
    """A part of its class for each prototype: where it points already, but no part twice in a class and scale.

    Of all ways to hand out the parts, the one in which the prototypes of a class and scale hit theirs most often.

    Args:
        network: With prototypes, in eval mode.
        dataset: Training pictures, un-augmented, with parts.
        progress: Wraps the picture indices to show progress.

    Returns:
        (P,) part ids, from 1; 0 for prototypes that are not in use, whose class shows no part, or for which no part is
        left.
    """
    units, tally = tally_prototypes(network, dataset, progress)
    assert units.scale is not None
    part_of = torch.zeros_like(require_prototypes(network).prototypes.prototype_class)
    classes, scales = units.unit_class.numpy(), units.scale.numpy()
    hits = tally.hits / tally.shown.clip(1)
    part_class = np.where(tally.shown > 0, class_of_parts(dataset), -1)
    for label, scale in sorted(set(zip(classes.tolist(), scales.tolist(), strict=True))):
        own, parts = np.flatnonzero((classes == label) & (scales == scale)), np.flatnonzero(part_class == label)
        rows, columns = linear_sum_assignment(hits[np.ix_(own, parts)], maximize=True)
        part_of[units.index[own[rows]]] = torch.from_numpy(parts[columns] + 1).to(part_of.device)
    return part_of
