"""Assignment of object parts to prototypes, from the parts that the prototypes hit already."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from scaleprotoseg.data.dataset import SegmentationDataset, require_mask
from scaleprotoseg.inference.part_options import PAPER
from scaleprotoseg.inference.part_scores import tally_parts
from scaleprotoseg.inference.part_tally import Tally
from scaleprotoseg.inference.part_targets import class_of_parts, targets_of
from scaleprotoseg.inference.units import Units, activations_of, units_of
from scaleprotoseg.model.network import Network
from scaleprotoseg.progress import Progress


def images_with_parts(dataset: SegmentationDataset) -> Iterator[int]:
    """Yield the indices of the images that show an object part of a class that is labeled in them."""
    part_class = class_of_parts(dataset)
    for index in range(len(dataset)):
        sample = dataset[index]
        if targets_of(sample, require_mask(dataset, sample), part_class, PAPER):
            yield index


def tally_prototypes(network: Network, dataset: SegmentationDataset, progress: Progress = iter) -> tuple[Units, Tally]:
    """Count the images in which each prototype in use hits each object part.

    Args:
        network: Network with prototypes, in eval mode.
        dataset: Training images with object parts, without augmentation.
        progress: Wraps the image indices to show progress.
    """
    prototypes = units_of(network)[:1]
    (tally,) = tally_parts(activations_of(network, prototypes), prototypes, dataset, network.std, progress=progress)
    return prototypes[0], tally


def part_of_prototypes(network: Network, dataset: SegmentationDataset, progress: Progress = iter) -> Tensor:
    """Assign an object part of its class to each prototype, each part at most once per class and scale.

    For each class and scale, this is the assignment with the largest sum of hit rates: the fraction of the images with
    the part in which the prototype hits it.

    Args:
        network: Network with prototypes, in eval mode.
        dataset: Training images with object parts, without augmentation.
        progress: Wraps the image indices to show progress.

    Returns:
        (P,) part ids, from 1; 0 for a prototype that is not in use, whose class has no part in any image, or for which
        no part is left.
    """
    units, tally = tally_prototypes(network, dataset, progress)
    assert units.scale is not None
    part_of = torch.zeros_like(network.prototype_head.prototypes.prototype_class)
    classes, scales = units.unit_class.numpy(), units.scale.numpy()
    hits = tally.hits / tally.shown.clip(1)
    part_class = np.where(tally.shown > 0, class_of_parts(dataset), -1)
    for label, scale in sorted(set(zip(classes.tolist(), scales.tolist(), strict=True))):
        own, parts = np.flatnonzero((classes == label) & (scales == scale)), np.flatnonzero(part_class == label)
        rows, columns = linear_sum_assignment(hits[np.ix_(own, parts)], maximize=True)
        part_of[units.index[own[rows]]] = torch.from_numpy(parts[columns] + 1).to(part_of.device)
    return part_of
