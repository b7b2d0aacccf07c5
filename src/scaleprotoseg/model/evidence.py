"""Evidence by masking: how much of a similarity is left when a part of the picture is taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from scaleprotoseg.data.dataset import Sample, SegmentationDataset, require_mask
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.distributed import gather, share
from scaleprotoseg.model.inference import Alter, in_tiles, require_prototypes, used_prototypes
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.source import Box, patch_box


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


def evidence_in(
    network: Network,
    dataset: SegmentationDataset,
    chosen: dict[int, list[int]],
    reaches: Sequence[int],
    sides: Sequence[bool] = (True, False),
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> npt.NDArray[np.float64]:
    """The :func:`evidence` for all prototypes in use, in pictures of their classes; several processes share these.

    Args:
        network: With prototypes, in eval mode.
        dataset: Pictures with masks.
        chosen: By index of a picture, the classes it is looked at for.
        reaches: By scale, how many cells to each side the box has.
        sides: What is left of the picture, in turn: the box (True), or what is around it.
        progress: Wraps the picture indices to show progress.

    Returns:
        (n, 2 + len(sides)) rows of all pictures.

    Raises:
        UserError: If the network has no prototypes, or a picture no mask.
    """
    used = used_prototypes(network)
    classes = require_prototypes(network).prototypes.prototype_class.cpu()[used]
    indices = sorted(chosen)
    rows: list[list[float]] = []
    for index in progress([indices[place] for place in share(len(indices))]):
        prototypes = used[torch.isin(classes, torch.tensor(chosen[index]))]
        rows += evidence(network, dataset, dataset[index], prototypes, reaches, sides)
    return np.array([row for part in gather(rows) for row in part]).reshape(-1, 2 + len(sides))


@torch.inference_mode()
def evidence(
    network: Network,
    dataset: SegmentationDataset,
    sample: Sample,
    prototypes: Tensor,
    reaches: Sequence[int],
    sides: Sequence[bool],
) -> list[list[float]]:
    """Masks all but a box around the cell most similar to a prototype, or the box alone, and looks at it again.

    Args:
        network: With prototypes, in eval mode.
        dataset: What the picture is from.
        sample: A picture with a mask; only cells labelled with a prototype's class are looked at.
        prototypes: (n,) which of them.
        reaches: By scale, how many cells to each side the box has.
        sides: What is left of the picture, in turn: the box (True), or what is around it.

    Returns:
        [scale, share of the similarity that each side leaves, ..., share of the picture that the box takes] of each
        prototype whose class has a cell in the picture.
    """
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
            reach = reaches[int(layer.prototype_scale[prototype])]
            box = patch_box(divmod(cell, grid[1]), grid, sample.image.size, reach)
            by_box.setdefault(box, []).append((place, cell))
    rows = []
    for box, found in by_box.items():
        masked = [
            in_tiles(network, sample.pixels, read, alter=_masking(network.mean.cpu(), box, sample.image.size, side))
            for side in sides
        ]
        left, top, right, bottom = box
        area = (right - left) * (bottom - top) / (width * height)
        for place, cell in found:
            before, *after = (float(maps[place].flatten()[cell]) for maps in (clean, *masked))
            scale = int(layer.prototype_scale[prototypes[place]])
            rows.append([scale, *(min(1.0, value / before) for value in after), area])
    return rows


def _masking(mean: Tensor, box: Box, picture: tuple[int, int], inside: bool) -> Alter:
    """Keeps of a picture what is inside a box, or what is outside, and puts the mean colour over the rest."""

    def alter(image: Tensor) -> Tensor:
        return torch.where(in_box(box, picture, (image.shape[1], image.shape[2])) == inside, image, mean)

    return alter
