"""Misalignment: whether what makes a prototype similar to a cell lies in the region that is shown for it.

A cell reads more of the picture than the box that explanations draw around it (Sacha et al., AAAI 2024). Here this is
measured by masking, in two ways: all but the box, and the box alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from scaleprotoseg.data.dataset import Sample, SegmentationDataset, require_mask
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.distributed import gather, share
from scaleprotoseg.evaluation.receptive_field import Extent, receptive_fields
from scaleprotoseg.evaluation.units import Alter, used_prototypes
from scaleprotoseg.model.inference import in_tiles, require_prototypes
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.source import Box, patch_box, reach_of


@dataclass(frozen=True)
class Evidence:
    """Means over measurements, in 0-1; None where nothing could be measured.

    Attributes:
        inside: Share of a similarity that is left when all but the region shown is masked; 1 if no evidence lies
            elsewhere.
        outside: Share that is left when the region shown is masked.
        area: Share of the picture that the region takes.
        measurements: Pairs of a prototype and a picture.
    """

    inside: float | None
    outside: float | None
    area: float | None
    measurements: int


@dataclass(frozen=True)
class Misalignment:
    """Where the evidence for prototypes lies.

    Attributes:
        overall: Over the prototypes of all scales.
        scales: Over those of each scale.
        receptive_fields: (height, width) of what a cell of each scale reads, in pixels of the picture as the network
            sees it; see :func:`~scaleprotoseg.evaluation.receptive_field.receptive_fields`.
    """

    overall: Evidence
    scales: tuple[Evidence, ...]
    receptive_fields: tuple[tuple[Extent, Extent], ...]


def score_misalignment(
    network: Network,
    dataset: SegmentationDataset,
    pictures: int = 8,
    seed: int = 0,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Misalignment:
    """Masks what is and what is not shown of each prototype in use, and reads its similarity again.

    In each of some pictures of a prototype's class, the cell that is most similar to it is looked at, among those
    labelled with the class. The region is the one explanations show of such a cell. Masked pixels have the mean
    colour, 0 once they are normalised. Several processes share the pictures.

    Args:
        network: In eval mode.
        dataset: Pictures with masks.
        pictures: Of each class, as far as there are so many.
        seed: By which these are chosen.
        progress: Wraps the picture indices to show progress.

    Raises:
        UserError: If the network has no prototypes, or a picture no mask.
    """
    layer = require_prototypes(network).prototypes
    used = used_prototypes(network)
    classes = layer.prototype_class.cpu()[used]
    chosen = choose_pictures(dataset, sorted(set(classes.tolist())), pictures, seed)
    indices = sorted(chosen)
    rows: list[list[float]] = []
    for index in progress([indices[place] for place in share(len(indices))]):
        prototypes = used[torch.isin(classes, torch.tensor(chosen[index]))]
        rows += _measure(network, dataset, dataset[index], prototypes)
    measured = np.array([row for part in gather(rows) for row in part]).reshape(-1, 4)
    return Misalignment(
        _evidence(measured),
        tuple(_evidence(measured[measured[:, 0] == scale]) for scale in range(layer.num_scales)),
        tuple(receptive_fields(network)),
    )


def choose_pictures(
    dataset: SegmentationDataset, classes: Iterable[int], count: int, seed: int
) -> dict[int, list[int]]:
    """Chooses up to ``count`` pictures that show each class; several processes share the reading.

    Returns:
        By index of a picture, the classes it was chosen for.

    Raises:
        UserError: If a picture has no mask.
    """
    mine = [np.unique(require_mask(dataset, dataset[index])).tolist() for index in share(len(dataset))]
    shown = [labels for part in gather(mine) for labels in part]
    chosen: dict[int, list[int]] = {}
    for label in classes:
        showing = [index for index, labels in enumerate(shown) if label in labels]
        for index in np.random.default_rng([seed, label]).permutation(showing)[:count].tolist():
            chosen.setdefault(int(index), []).append(label)
    return chosen


def in_box(box: Box, picture: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Which pixels of a resized picture have their centres in a box of the picture as given.

    Args:
        box: In pixels of the picture as given.
        picture: (width, height) of the picture as given.
        size: (height, width) of the resized one.

    Returns:
        (height, width) booleans.
    """
    (left, top, right, bottom), (width, height), (rows, columns) = box, picture, size
    x = (torch.arange(columns) + 0.5) * width / columns
    y = (torch.arange(rows) + 0.5) * height / rows
    return ((top <= y) & (y < bottom))[:, None] & (left <= x) & (x < right)


@torch.inference_mode()
def _measure(network: Network, dataset: SegmentationDataset, sample: Sample, prototypes: Tensor) -> list[list[float]]:
    """[scale, inside, outside, area] of each prototype whose class has a cell in the picture."""
    layer = require_prototypes(network).prototypes

    def read(tile: Tensor) -> Tensor:
        similarities: Tensor = network(tile).similarities
        return similarities[:, prototypes.to(tile.device)]

    clean = in_tiles(network, sample.pixels, read)
    grid = (clean.shape[1], clean.shape[2])
    labels = resize_labels(torch.from_numpy(require_mask(dataset, sample))[None], grid).flatten()
    width, height = sample.image.size
    # Prototypes that are shown by the same box share its masked pictures.
    by_box: dict[Box, list[tuple[int, int]]] = {}
    for place, prototype in enumerate(prototypes.tolist()):
        of_class = labels == layer.prototype_class[prototype].cpu()
        if of_class.any():
            cell = int(clean[place].flatten().masked_fill(~of_class, -torch.inf).argmax())
            reach = reach_of(network.config, int(layer.prototype_scale[prototype]))
            box = patch_box(divmod(cell, grid[1]), grid, sample.image.size, reach)
            by_box.setdefault(box, []).append((place, cell))
    rows = []
    for box, found in by_box.items():
        inside, outside = (
            in_tiles(network, sample.pixels, read, alter=_masking(network.mean.cpu(), box, sample.image.size, kept))
            for kept in (True, False)
        )
        left, top, right, bottom = box
        area = (right - left) * (bottom - top) / (width * height)
        for place, cell in found:
            before, *after = (float(maps[place].flatten()[cell]) for maps in (clean, inside, outside))
            scale = int(layer.prototype_scale[prototypes[place]])
            rows.append([scale, *(min(1.0, value / before) for value in after), area])
    return rows


def _masking(mean: Tensor, box: Box, picture: tuple[int, int], inside: bool) -> Alter:
    """Keeps of a picture what is inside a box, or what is outside, and puts the mean colour over the rest."""

    def alter(image: Tensor) -> Tensor:
        return torch.where(in_box(box, picture, (image.shape[1], image.shape[2])) == inside, image, mean)

    return alter


def _evidence(measured: npt.NDArray[np.float64]) -> Evidence:
    """Means of (n, 4) rows as :func:`_measure` gives them."""
    if not len(measured):
        return Evidence(None, None, None, 0)
    _, inside, outside, area = measured.mean(axis=0).tolist()
    return Evidence(inside, outside, area, len(measured))
