"""The frame: how much of a picture must be shown for a cell, so that the evidence for it lies inside."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import torch

from scaleprotoseg.data.dataset import Sample, SegmentationDataset
from scaleprotoseg.model.evidence import choose_pictures, evidence_in
from scaleprotoseg.model.inference import in_tiles, require_prototypes, used_prototypes
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.source import Source, reach_of
from scaleprotoseg.training.projection import source_at, sources_by_picture

log = logging.getLogger(__name__)

PICTURES = 4
"""Training pictures of each class that are looked at."""


def frame(
    network: Network,
    dataset: SegmentationDataset,
    inside: float,
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
        progress: Wraps the picture indices to show progress.

    Raises:
        UserError: If the network has no prototypes, a picture no mask, or a source's picture is not among them.
    """
    layer = require_prototypes(network).prototypes
    plain = replace(network.config, pyramid=replace(network.config.pyramid, shown=None))
    classes = layer.prototype_class.cpu()[used_prototypes(network)].tolist()
    chosen = choose_pictures(dataset, sorted(set(classes)), PICTURES, seed=0)
    low = np.array([reach_of(plain, scale) for scale in range(layer.num_scales)])
    high = np.maximum(low, max((max(_grid(network, dataset[index])) for index in chosen), default=0))
    while (low < high).any():
        middle = (low + high) // 2
        found = evidence_in(network, dataset, chosen, middle.tolist(), sides=(True,), progress=progress)
        by_scale = [found[found[:, 0] == scale, 1] for scale in range(len(low))]
        enough = np.array([left.size == 0 or left.mean() >= inside for left in by_scale])
        low, high = np.where(enough, low, np.minimum(middle + 1, high)), np.where(enough, middle, high)
    network.config = replace(plain, pyramid=replace(plain.pyramid, shown=tuple(low.tolist())))
    log.info("cells to each side that are shown: %s", ", ".join(map(str, low.tolist())))
    network.sources = _framed(network, dataset)


@torch.inference_mode()
def _grid(network: Network, sample: Sample) -> tuple[int, int]:
    """(height, width) of a picture's feature map."""
    maps = in_tiles(network, sample.pixels, lambda tile: network.encoder(tile)[:, :1])
    return maps.shape[1], maps.shape[2]


def _framed(network: Network, dataset: SegmentationDataset) -> list[Source | None]:
    """The sources with the boxes that are shown now."""
    scales = require_prototypes(network).prototypes.prototype_scale.tolist()
    framed = list(network.sources)
    for sample, prototypes in sources_by_picture(network, dataset):
        grid = _grid(network, sample)
        for index, source in prototypes:
            reach = reach_of(network.config, scales[index])
            framed[index] = source_at(sample, source.cell, grid, reach, source.distance)
    return framed
