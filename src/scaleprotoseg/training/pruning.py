"""Pruning of prototypes, by their nearest patches (ProtoSeg; Chen et al., 2019) or by the object parts they hit."""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.errors import UserError
from scaleprotoseg.inference.nearest_patches import nearest_patches
from scaleprotoseg.inference.part_targets import class_of_parts
from scaleprotoseg.model.network import Network
from scaleprotoseg.progress import Progress
from scaleprotoseg.training.pointing import tally_prototypes

log = logging.getLogger(__name__)

MAX_NAMED = 8
"""Largest number of classes without prototypes that a warning names; the others are counted."""


def prune_by_neighbours(
    network: Network,
    dataset: SegmentationDataset,
    neighbours: int,
    agreeing: int,
    progress: Progress = iter,
) -> None:
    """Drop every prototype with too few patches of its own class among its nearest training patches.

    Args:
        network: Network with a prototype head, in eval mode; changed in place.
        dataset: Training images, without augmentation.
        neighbours: Number of nearest patches to examine, of any class and each from another image.
        agreeing: Smallest number of them that must be of the prototype's class.
        progress: Wraps the image indices to show progress.

    Raises:
        UserError: If no prototype would be left.
    """
    head = network.prototype_head
    nearest = nearest_patches(network, dataset, neighbours, own_class=False, one_per_image=True, progress=progress)
    classes = head.prototypes.prototype_class
    keep = ((nearest.label == classes[:, None]).sum(dim=1) >= agreeing).nonzero().flatten()
    if not len(keep):
        raise UserError(
            f"prune-by-neighbours: no prototype has {agreeing} of its class among its {neighbours} nearest patches; "
            "lower agreeing, or train longer first"
        )
    _select(network, keep)
    empty = sorted(set(classes.tolist()) - set(classes[keep].tolist()))
    if empty:
        names = ", ".join(network.labels.names[index] for index in empty[:MAX_NAMED])
        more = f" and {len(empty) - MAX_NAMED} more" if len(empty) > MAX_NAMED else ""
        log.warning("no prototype is left of %s%s: no pixel can be similar to these classes any more", names, more)


def prune_by_parts(
    network: Network,
    dataset: SegmentationDataset,
    agreement: float,
    progress: Progress = iter,
) -> None:
    """Drop prototypes that do not reliably hit one object part of their class, and prototypes that are not in use.

    Each class keeps its best prototype; a class of which no image shows a part keeps all prototypes in use.

    Args:
        network: Network with prototypes, in eval mode; changed in place.
        dataset: Training images with object parts, without augmentation.
        agreement: Fraction in 0-1; a prototype is kept if it hits one part, both with and without noise, in more than
            this fraction of the images that show the part.
        progress: Wraps the image indices to show progress.
    """
    units, tally = tally_prototypes(network, dataset, progress)
    unit_class = units.unit_class.numpy()
    fractions = tally.agreement(tally.steady, class_of_parts(dataset), unit_class)
    keep = np.isnan(fractions) | (fractions > agreement)
    for label in np.unique(unit_class):
        own = units.of(label)
        keep[own[fractions[own].argmax()]] = True
    _select(network, units.index[torch.from_numpy(keep)])


def _select(network: Network, keep: Tensor) -> None:
    """Drop all prototypes whose (P',) indices are not in ``keep``."""
    head = network.prototype_head
    log.info("%d of %d prototypes are kept", len(keep), len(network.sources))
    network.replace_head(head.select(keep), [network.sources[index] for index in keep.tolist()])
