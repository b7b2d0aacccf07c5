"""Projection: every prototype is replaced by its nearest training patch of the same class."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch

from scaleprotoseg.data.dataset import Sample, SegmentationDataset
from scaleprotoseg.errors import UserError
from scaleprotoseg.inference.nearest_patches import Nearest, nearest_patches
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.source import Source, context_window, crop_png, patch_box, reach_of
from scaleprotoseg.progress import Progress

log = logging.getLogger(__name__)


def project(network: Network, dataset: SegmentationDataset, progress: Progress = iter) -> None:
    """Replace every prototype by its nearest training patch, in one pass over the images.

    Prototypes with the same patch are merged into one and their classifier columns are added, so that no score changes.
    A prototype of a class without labeled pixels is not changed and has no source.

    Args:
        network: Network with a prototype head, in eval mode; changed in place.
        dataset: Training images, without augmentation.
        progress: Wraps the image indices to show progress.
    """
    head = network.prototype_head
    layer = head.prototypes
    nearest = nearest_patches(network, dataset, progress=progress)
    found = nearest.image[:, 0] >= 0
    with torch.no_grad():
        layer.vectors[found] = nearest.latent[found, 0]
    keep, into = _distinct(nearest, layer.prototype_class.tolist(), layer.prototype_scale.tolist())
    sources = _sources(network, dataset, nearest, keep)
    network.replace_head(head.merge(torch.tensor(keep, device=layer.vectors.device), into), sources)


def find_sources(network: Network, dataset: SegmentationDataset, progress: Progress = iter) -> None:
    """Set the source of every prototype to its nearest training patch, without changing the prototype.

    Args:
        network: Network with prototypes, in eval mode; its sources are changed in place.
        dataset: Training images, without augmentation.
        progress: Wraps the image indices to show progress.
    """
    nearest = nearest_patches(network, dataset, progress=progress)
    network.sources = _sources(network, dataset, nearest, list(range(len(network.sources))))


def _distinct(nearest: Nearest, classes: list[int], scales: list[int]) -> tuple[list[int], list[int]]:
    """Return the indices of the first prototype on each patch, and each prototype's position among them."""
    keep: list[int] = []
    into: list[int] = []
    position: dict[tuple[int, ...], int] = {}
    for index, (label, scale) in enumerate(zip(classes, scales, strict=True)):
        image, cell = int(nearest.image[index, 0]), int(nearest.cell[index, 0])
        patch = (label, scale, image, cell) if image >= 0 else (-1, index)
        if patch not in position:
            position[patch] = len(keep)
            keep.append(index)
        into.append(position[patch])
    return keep, into


def _sources(network: Network, dataset: SegmentationDataset, nearest: Nearest, keep: list[int]) -> list[Source | None]:
    """Return the sources of the prototypes in ``keep``; each image is read once."""
    layer = network.prototype_head.prototypes
    sources: dict[int, Source | None] = dict.fromkeys(keep)
    for image in sorted({int(nearest.image[index, 0]) for index in keep} - {-1}):
        sample = dataset[image]
        for index in (i for i in keep if int(nearest.image[i, 0]) == image):
            rows, columns = (int(value) for value in nearest.grid[index, 0])
            cell = divmod(int(nearest.cell[index, 0]), columns)
            reach = reach_of(network.config, int(layer.prototype_scale[index]))
            sources[index] = source_at(sample, cell, (rows, columns), reach, float(nearest.distance[index, 0]))
    missing = sum(source is None for source in sources.values())
    if missing:
        log.warning("%d prototypes belong to classes without training pixels and have no training patch", missing)
    return [sources[index] for index in keep]


def sources_by_image(
    network: Network, dataset: SegmentationDataset
) -> Iterator[tuple[Sample, list[tuple[int, Source]]]]:
    """Yield each image that prototypes come from, with the indices of these prototypes and their sources.

    Args:
        network: Network after projection.
        dataset: Training images it was projected onto.

    Raises:
        UserError: If the image of a prototype is not in the data set.
    """
    index_of = {name: index for index, name in enumerate(dataset.sample_names)}
    by_image: dict[str, list[tuple[int, Source]]] = {}
    for index, source in enumerate(network.sources):
        if source is not None:
            by_image.setdefault(source.image, []).append((index, source))
    for name, prototypes in by_image.items():
        if name not in index_of:
            raise UserError(f"{dataset.name}: {name}, the image of a prototype, is not in it; project again first")
        yield dataset[index_of[name]], prototypes


def source_at(sample: Sample, cell: tuple[int, int], grid: tuple[int, int], reach: int, distance: float) -> Source:
    """Build the source for a cell of a training image, with the crop that is shown for it.

    Args:
        sample: The image.
        cell: (row, column) on its feature map.
        grid: (height, width) of the feature map.
        reach: Number of cells that are shown on each side.
        distance: Squared distance between the patch and the prototype.
    """
    box = patch_box(cell, grid, sample.image.size, reach)
    window = context_window(box, sample.image.size)
    return Source(sample.name, sample.image.size, cell, box, window, distance, crop_png(sample.image, window))
