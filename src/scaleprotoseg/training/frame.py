"""The frame: how much of a picture must be shown for a cell, so that the evidence for it lies inside."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import torch

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.distributed import gather, share
from scaleprotoseg.errors import UserError
from scaleprotoseg.model.evidence import choose_pictures, evidence
from scaleprotoseg.model.inference import in_tiles, require_prototypes, used_prototypes
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.source import Source, reach_of
from scaleprotoseg.training.projection import source_at

log = logging.getLogger(__name__)

PICTURES = 4
"""Training pictures of each class that are looked at."""


def frame(
    network: Network,
    dataset: SegmentationDataset,
    inside: float,
    seed: int = 0,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> None:
    """Finds, for each scale, the smallest box that holds its evidence, and shows it from now on.

    A cell sees more of the picture than its pyramid branch reads around it. The box is the smallest, never smaller than
    what the branch reads, with which on average the share ``inside`` of a prototype's similarity is left when all
    around it is masked; found by bisection on training pictures.

    Args:
        network: With prototypes, in eval mode; its configuration and its sources change.
        dataset: Training pictures, un-augmented.
        inside: Share of the similarity, in 0-1.
        seed: By which the pictures are chosen.
        progress: Wraps the picture indices to show progress.

    Raises:
        UserError: If the network has no prototypes, a picture no mask, or a source's picture is not among them.
    """
    layer = require_prototypes(network).prototypes
    plain = replace(network.config, pyramid=replace(network.config.pyramid, shown=None))
    used = used_prototypes(network)
    classes = layer.prototype_class.cpu()[used]
    chosen = choose_pictures(dataset, sorted(set(classes.tolist())), PICTURES, seed)
    grids = {index: _grid(network, dataset, index) for index in sorted(chosen)}
    low = np.array([reach_of(plain, scale) for scale in range(layer.num_scales)])
    high = np.maximum(low, max((max(grid) for grid in grids.values()), default=0))
    while (low < high).any():
        middle = (low + high) // 2
        rows: list[list[float]] = []
        for index in progress([list(grids)[place] for place in share(len(grids))]):
            prototypes = used[torch.isin(classes, torch.tensor(chosen[index]))]
            rows += evidence(network, dataset, dataset[index], prototypes, middle.tolist(), sides=(True,))
        found = np.array([row for part in gather(rows) for row in part]).reshape(-1, 3)
        left = np.array(
            [found[found[:, 0] == scale, 1].mean() if scale in found[:, 0] else 1 for scale in range(len(low))]
        )
        low, high = np.where(left >= inside, low, np.minimum(middle + 1, high)), np.where(left >= inside, middle, high)
    network.config = replace(plain, pyramid=replace(plain.pyramid, shown=tuple(low.tolist())))
    log.info("cells to each side that are shown: %s", ", ".join(map(str, low.tolist())))
    network.sources = _framed(network, dataset)


def _grid(network: Network, dataset: SegmentationDataset, index: int) -> tuple[int, int]:
    """(height, width) of a picture's feature map."""
    with torch.inference_mode():
        maps = in_tiles(network, dataset[index].pixels, lambda tile: network.features(tile)[0][:, :1])
    return maps.shape[1], maps.shape[2]


def _framed(network: Network, dataset: SegmentationDataset) -> list[Source | None]:
    """The sources with the boxes that are shown now."""
    layer = require_prototypes(network).prototypes
    places = {name: index for index, name in enumerate(dataset.sample_names)}
    framed: list[Source | None] = []
    for source, scale in zip(network.sources, layer.prototype_scale.tolist(), strict=True):
        if source is None:
            framed.append(None)
            continue
        if source.image not in places:
            raise UserError(
                f"{dataset.name}: {source.image}, the picture of a prototype, is not in it; project again first"
            )
        index = places[source.image]
        reach, grid = reach_of(network.config, scale), _grid(network, dataset, index)
        framed.append(source_at(dataset[index], source.cell, grid, reach, source.distance))
    return framed
