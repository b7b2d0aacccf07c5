"""Projection: every prototype becomes the training patch of its class that is nearest to it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

import torch

from scaleprotoseg.data.dataset import Sample, SegmentationDataset
from scaleprotoseg.errors import UserError
from scaleprotoseg.model.inference import require_prototypes
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.prototypes import PrototypeHead
from scaleprotoseg.model.search import Nearest, nearest_patches
from scaleprotoseg.model.source import Source, context_window, crop_png, patch_box, reach_of

log = logging.getLogger(__name__)


def project(
    network: Network, dataset: SegmentationDataset, progress: Callable[[Iterable[int]], Iterable[int]] = iter
) -> None:
    """Puts every prototype onto its nearest training patch, in one pass of the network over the pictures.

    Prototypes that land on the same patch become one; their classifier columns are added, so that no score changes. A
    prototype whose class occurs nowhere stays as it is, without a source.

    Args:
        network: With a prototype head, in eval mode; changed in place.
        dataset: Training pictures, un-augmented.
        progress: Wraps the picture indices to show progress.
    """
    head = require_prototypes(network)
    assert isinstance(head, PrototypeHead)
    layer = head.prototypes
    nearest = nearest_patches(network, dataset, progress=progress)
    found = nearest.image[:, 0] >= 0
    with torch.no_grad():
        layer.vectors[found] = nearest.latent[found, 0]
    keep, into = _distinct(nearest, layer.prototype_class.tolist(), layer.prototype_scale.tolist())
    sources = _sources(network, dataset, nearest, keep)
    network.replace_head(head.merge(torch.tensor(keep, device=layer.vectors.device), into), sources)


def find_sources(
    network: Network, dataset: SegmentationDataset, progress: Callable[[Iterable[int]], Iterable[int]] = iter
) -> None:
    """Names every prototype's nearest training patch as its source and leaves the prototype where it is.

    Args:
        network: With prototypes, in eval mode; only its sources change.
        dataset: Training pictures, un-augmented.
        progress: Wraps the picture indices to show progress.
    """
    nearest = nearest_patches(network, dataset, progress=progress)
    network.sources = _sources(network, dataset, nearest, list(range(len(network.sources))))


def _distinct(nearest: Nearest, classes: list[int], scales: list[int]) -> tuple[list[int], list[int]]:
    """Indices of the first prototype on each patch, and for every prototype its position among them."""
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
    """The source of every kept prototype; each picture is read once."""
    layer = require_prototypes(network).prototypes
    sources: dict[int, Source | None] = dict.fromkeys(keep)
    for image in sorted({int(nearest.image[index, 0]) for index in keep} - {-1}):
        sample = dataset[image]
        for index in (i for i in keep if int(nearest.image[i, 0]) == image):
            rows, columns = (int(value) for value in nearest.grid[index, 0])
            cell = divmod(int(nearest.cell[index, 0]), columns)
            reach = reach_of(network.config, int(layer.prototype_scale[index]))
            sources[index] = source_at(sample, cell, (rows, columns), reach, float(nearest.distance[index, 0]))
    lost = sum(source is None for source in sources.values())
    if lost:
        log.warning("%d prototypes belong to classes without training pixels and stay without a training patch", lost)
    return [sources[index] for index in keep]


def sources_by_picture(
    network: Network, dataset: SegmentationDataset
) -> Iterator[tuple[Sample, list[tuple[int, Source]]]]:
    """The pictures that prototypes come from, each read once, with the prototypes and their sources.

    Args:
        network: Projected.
        dataset: The training pictures it was projected onto.

    Raises:
        UserError: If a prototype's picture is not among them.
    """
    places = {name: index for index, name in enumerate(dataset.sample_names)}
    by_picture: dict[str, list[tuple[int, Source]]] = {}
    for index, source in enumerate(network.sources):
        if source is not None:
            by_picture.setdefault(source.image, []).append((index, source))
    for name, prototypes in by_picture.items():
        if name not in places:
            raise UserError(f"{dataset.name}: {name}, the picture of a prototype, is not in it; project again first")
        yield dataset[places[name]], prototypes


def source_at(sample: Sample, cell: tuple[int, int], grid: tuple[int, int], reach: int, distance: float) -> Source:
    """A cell of a training picture as a source, with what is shown of it.

    Args:
        sample: The picture.
        cell: (row, column) on its feature map.
        grid: (height, width) of the feature map.
        reach: Cells to each side that are shown.
        distance: Squared distance from the prototype.
    """
    box = patch_box(cell, grid, sample.image.size, reach)
    window = context_window(box, sample.image.size)
    picture = crop_png(sample.image, window)
    return Source(sample.name, sample.image.size, cell, box, window, distance, picture)
