"""The frame: the region around a cell that an explanation must show, so that it contains the evidence."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.inference.evidence import choose_images, measure_evidence
from scaleprotoseg.inference.tiles import grid_of
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.source import Source, reach_of
from scaleprotoseg.progress import Progress
from scaleprotoseg.training.projection import source_at, sources_by_image

log = logging.getLogger(__name__)


def frame(
    network: Network,
    dataset: SegmentationDataset,
    inside: float,
    images_per_class: int,
    progress: Progress = iter,
) -> None:
    """Find, for each scale, the smallest box around a cell that contains its evidence, and make explanations show it.

    The receptive field of a cell is larger than the cells that its pyramid branch reads. The box is the smallest one,
    not smaller than what the branch reads, for which on average the fraction ``inside`` of a prototype's similarity
    remains when everything outside of it is masked. It is found by bisection on training images.

    Args:
        network: Network with prototypes, in eval mode; its configuration and sources are changed in place.
        dataset: Training images, without augmentation.
        inside: Fraction of the similarity that must remain, in 0-1.
        images_per_class: Number of training images per class to examine.
        progress: Wraps the image indices to show progress.

    Raises:
        UserError: If the network has no prototypes, an image has no mask, or the image of a source is not in the data
            set.
    """
    layer = network.prototype_head.prototypes
    plain = replace(network.config, pyramid=replace(network.config.pyramid, shown=None))
    classes = layer.prototype_class.cpu()[network.prototype_head.used_prototypes()].tolist()
    chosen = choose_images(dataset, sorted(set(classes)), images_per_class, seed=0)
    low = np.array([reach_of(plain, scale) for scale in range(layer.num_scales)])
    high = np.maximum(low, max((max(grid_of(network, dataset[index].pixels)) for index in chosen), default=0))
    while (low < high).any():
        middle = (low + high) // 2
        found = measure_evidence(network, dataset, chosen, middle.tolist(), visible=("inside",), progress=progress)
        by_scale = [found[found[:, 0] == scale, 1] for scale in range(len(low))]
        enough = np.array([left.size == 0 or left.mean() >= inside for left in by_scale])
        low, high = np.where(enough, low, np.minimum(middle + 1, high)), np.where(enough, middle, high)
    network.config = replace(plain, pyramid=replace(plain.pyramid, shown=tuple(low.tolist())))
    log.info("cells shown on each side, by scale: %s", ", ".join(map(str, low.tolist())))
    network.sources = _sources_with_new_boxes(network, dataset)


def _sources_with_new_boxes(network: Network, dataset: SegmentationDataset) -> list[Source | None]:
    """Return the sources with boxes of the new size."""
    scales = network.prototype_head.prototypes.prototype_scale.tolist()
    sources = list(network.sources)
    for sample, prototypes in sources_by_image(network, dataset):
        grid = grid_of(network, sample.pixels)
        for index, source in prototypes:
            reach = reach_of(network.config, scales[index])
            sources[index] = source_at(sample, source.cell, grid, reach, source.distance)
    return sources
