"""Pruning of prototypes, by their neighbours (ProtoSeg; Chen et al., 2019) or by the parts they point at."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.errors import UserError
from scaleprotoseg.model.inference import require_prototypes
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.parts import class_of_parts
from scaleprotoseg.model.prototypes import PrototypeHead
from scaleprotoseg.model.search import nearest_patches
from scaleprotoseg.training.pointing import tally_prototypes

log = logging.getLogger(__name__)

NAMED = 8
"""Classes without prototypes that a warning names; the others are counted."""


def prune_by_neighbours(
    network: Network,
    dataset: SegmentationDataset,
    neighbours: int,
    agreeing: int,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> None:
    """Drops every prototype that has too few of its own class among its nearest training patches.

    Args:
        network: With a prototype head, in eval mode; changed in place.
        dataset: Training pictures, un-augmented.
        neighbours: Nearest patches of any class that are looked at, each of another picture.
        agreeing: How many of them must be of the prototype's class.
        progress: Wraps the picture indices to show progress.

    Raises:
        UserError: If no prototype would stay.
    """
    head = network.head
    assert isinstance(head, PrototypeHead)
    nearest = nearest_patches(network, dataset, neighbours, own_class=False, once_a_picture=True, progress=progress)
    classes = head.prototypes.prototype_class
    keep = ((nearest.label == classes[:, None]).sum(dim=1) >= agreeing).nonzero().flatten()
    if not len(keep):
        raise UserError(
            f"prune-by-neighbours: no prototype has {agreeing} of its class among its {neighbours} nearest patches; "
            "lower agreeing, or train longer before"
        )
    _keep(network, keep)
    empty = sorted(set(classes.tolist()) - set(classes[keep].tolist()))
    if empty:
        names = ", ".join(network.labels.names[index] for index in empty[:NAMED])
        more = f" and {len(empty) - NAMED} more" if len(empty) > NAMED else ""
        log.warning("no prototype is left of %s%s: no pixel can look like them any more", names, more)


def prune_by_parts(
    network: Network,
    dataset: SegmentationDataset,
    agreement: float,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> None:
    """Drops the prototypes that do not hit one part of their class, with and without noise, and those not in use.

    Each class keeps its best, and all that are in use if no picture shows a part of it.

    Args:
        network: With prototypes, in eval mode; changed in place.
        dataset: Training pictures, un-augmented, with parts.
        agreement: A prototype stays if it hits one part, without and with noise, in more than this share of the
            pictures that show the part.
        progress: Wraps the picture indices to show progress.
    """
    units, tally = tally_prototypes(network, dataset, progress)
    unit_class = units.unit_class.numpy()
    shares = tally.agreement(tally.steady, class_of_parts(dataset), unit_class)
    keep = np.isnan(shares) | (shares > agreement)
    for label in np.unique(unit_class):
        own = units.of(label)
        keep[own[shares[own].argmax()]] = True
    _keep(network, units.index[torch.from_numpy(keep)])


def _keep(network: Network, keep: Tensor) -> None:
    """Drops all prototypes but some."""
    head = require_prototypes(network)
    log.info("%d of %d prototypes stay", len(keep), len(network.sources))
    network.replace_head(head.select(keep), [network.sources[index] for index in keep.tolist()])
