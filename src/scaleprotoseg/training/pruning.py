"""Pruning by neighbours: prototypes that lie among patches of other classes go (ProtoSeg; Chen et al., 2019)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.errors import UserError
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.prototypes import PrototypeHead
from scaleprotoseg.model.search import nearest_patches

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
    empty = sorted(set(classes.tolist()) - set(classes[keep].tolist()))
    log.info("%d of %d prototypes stay", len(keep), len(classes))
    if empty:
        names = ", ".join(network.labels.names[index] for index in empty[:NAMED])
        more = f" and {len(empty) - NAMED} more" if len(empty) > NAMED else ""
        log.warning("no prototype is left of %s%s: no pixel can look like them any more", names, more)
    network.replace_head(head.select(keep), [network.sources[index] for index in keep.tolist()])
