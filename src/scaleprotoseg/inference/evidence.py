"""Evidence by masking: the fraction of a similarity that remains when a region of the image is masked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from scaleprotoseg.data.dataset import Sample, SegmentationDataset, require_mask
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.distributed import gather, shard
from scaleprotoseg.inference.alterations import Visible, masking
from scaleprotoseg.inference.similarities import similarities_of
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.source import Box, patch_box
from scaleprotoseg.progress import Progress


def choose_images(dataset: SegmentationDataset, classes: Iterable[int], count: int, seed: int) -> dict[int, list[int]]:
    """Choose up to ``count`` random images per class among those that show the class.

    Several processes share the reading of the masks.

    Args:
        dataset: Images with masks.
        classes: Train ids of the classes.
        count: Largest number of images per class.
        seed: Seed of the choice.

    Returns:
        For the index of each chosen image, the classes it was chosen for.

    Raises:
        UserError: If an image has no mask.
    """
    own = [np.unique(require_mask(dataset, dataset[index])).tolist() for index in shard(len(dataset))]
    shown = [labels for part in gather(own) for labels in part]
    chosen: dict[int, list[int]] = {}
    for label in classes:
        showing = [index for index, labels in enumerate(shown) if label in labels]
        for index in np.random.default_rng([seed, label]).permutation(showing)[:count].tolist():
            chosen.setdefault(int(index), []).append(label)
    return chosen


def measure_evidence(
    network: Network,
    dataset: SegmentationDataset,
    chosen: dict[int, list[int]],
    reaches: Sequence[int],
    visible: Sequence[Visible] = ("inside", "outside"),
    progress: Progress = iter,
) -> npt.NDArray[np.float64]:
    """Measure how much of the highest similarity to each prototype in use remains when the image is masked.

    In each image, the cell with the highest similarity to a prototype is examined, among the cells labeled with the
    prototype's class. One side of a box around this cell is masked with the mean color of the network's input, and the
    similarity of the cell is computed again. Several processes share the images.

    Args:
        network: Network with prototypes, in eval mode.
        dataset: Images with masks.
        chosen: For the index of each image, the classes whose prototypes are examined in it.
        reaches: For each scale, the number of cells to each side that the box covers.
        visible: Sides of the box that remain visible, one measurement for each.
        progress: Wraps the image indices to show progress.

    Returns:
        (n, 2 + len(visible)) array. Each row is for one image and one prototype whose class has a cell in the image:
        scale, fraction of the similarity that remains for each entry of ``visible`` (at most 1), and fraction of the
        image that the box covers.

    Raises:
        UserError: If the network has no prototypes, or an image has no mask.
    """
    used = network.prototype_head.used_prototypes()
    classes = network.prototype_head.prototypes.prototype_class.cpu()[used]
    indices = sorted(chosen)
    rows: list[list[float]] = []
    for index in progress([indices[position] for position in shard(len(indices))]):
        prototypes = used[torch.isin(classes, torch.tensor(chosen[index]))]
        rows += _evidence_in_image(network, dataset, dataset[index], prototypes, reaches, visible)
    return np.array([row for part in gather(rows) for row in part]).reshape(-1, 2 + len(visible))


def _evidence_in_image(
    network: Network,
    dataset: SegmentationDataset,
    sample: Sample,
    prototypes: Tensor,
    reaches: Sequence[int],
    visible: Sequence[Visible],
) -> list[list[float]]:
    """Compute the rows of :func:`measure_evidence` for one image and the (n,) indices of prototypes."""
    layer = network.prototype_head.prototypes
    classes, scales = layer.prototype_class[prototypes].tolist(), layer.prototype_scale[prototypes].tolist()
    similarities = similarities_of(network, sample.pixels, prototypes)
    grid, size = (similarities.shape[1], similarities.shape[2]), sample.image.size
    labels = resize_labels(torch.from_numpy(require_mask(dataset, sample))[None], grid).flatten()
    # Prototypes with the same box share its masked images.
    cells_by_box: dict[Box, list[tuple[int, int]]] = {}
    for position, cell in enumerate(_best_cells(similarities, labels, classes)):
        if cell is not None:
            box = patch_box(divmod(cell, grid[1]), grid, size, reaches[scales[position]])
            cells_by_box.setdefault(box, []).append((position, cell))
    rows = []
    for box, cells in cells_by_box.items():
        alterations = [masking(box, size, side, network.mean.cpu()) for side in visible]
        masked = [similarities_of(network, sample.pixels, prototypes, alter) for alter in alterations]
        left, top, right, bottom = box
        area = (right - left) * (bottom - top) / (size[0] * size[1])
        for position, cell in cells:
            before, *after = (float(maps[position].flatten()[cell]) for maps in (similarities, *masked))
            rows.append([scales[position], *(min(1.0, value / before) for value in after), area])
    return rows


def _best_cells(similarities: Tensor, labels: Tensor, classes: Sequence[int]) -> list[int | None]:
    """Find the cell of each prototype's class that is most similar to the prototype.

    Args:
        similarities: (n, h, w) similarities to n prototypes.
        labels: (h * w,) train ids of the cells.
        classes: Class of each prototype.

    Returns:
        Flat index of the cell for each prototype; None if no cell is labeled with its class.
    """
    cells: list[int | None] = []
    for values, label in zip(similarities, classes, strict=True):
        of_class = labels == label
        best = int(values.flatten().masked_fill(~of_class, -torch.inf).argmax())
        cells.append(best if of_class.any() else None)
    return cells
