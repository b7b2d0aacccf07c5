"""Purity: fraction of the patches nearest to a prototype that show the same class or object part."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.distributed import gather, shard
from scaleprotoseg.evaluation.context import Context
from scaleprotoseg.inference.nearest_patches import Nearest, nearest_patches
from scaleprotoseg.inference.part_targets import class_of_parts
from scaleprotoseg.model.network import Network
from scaleprotoseg.progress import Progress

UNKNOWN = -1
"""Part id of a patch in an image without a part mask, and of a missing patch."""


@dataclass(frozen=True)
class Purity:
    """Fractions, in 0-1, of the nearest patches of each of the P' prototypes in use.

    Attributes:
        classes: (P',) patches labeled with the prototype's class; None without any patch.
        parts: (P',) patches on the part of its class that most of them show, among those in images with a part mask;
            None without such a patch, and for classes without parts.
    """

    classes: tuple[float | None, ...]
    parts: tuple[float | None, ...]


def purity(context: Context) -> dict[str, float | None]:
    """Average the :func:`score_purity` of a model over its prototypes; values that were not measured are None."""
    scores = score_purity(context.network, context.dataset, progress=context.progress)
    known = {
        name: [value for value in values if value is not None]
        for name, values in (("classes", scores.classes), ("parts", scores.parts))
    }
    return {name: float(np.mean(values)) if values else None for name, values in known.items()}


def score_purity(
    network: Network,
    dataset: SegmentationDataset,
    k: int = 10,
    progress: Progress = iter,
) -> Purity:
    """Score the k nearest patches of each prototype in use, of any class, each from a different image.

    A patch has the label and the part of the pixel at the center of its cell. Several processes share the images.

    Args:
        network: Network in eval mode.
        dataset: Images with masks.
        k: Number of patches per prototype; fewer if there are fewer images.
        progress: Wraps the image indices to show progress.

    Raises:
        UserError: If the network has no prototypes, or an image has no mask.
    """
    used = network.prototype_head.used_prototypes()
    nearest = nearest_patches(network, dataset, k, own_class=False, one_per_image=True, progress=progress)
    labels, found = nearest.label.cpu()[used].numpy(), nearest.image.cpu()[used].numpy() >= 0
    prototype_class = network.prototype_head.prototypes.prototype_class.cpu()[used].tolist()
    classes = tuple(
        _fraction(patches[exists] == label)
        for patches, exists, label in zip(labels, found, prototype_class, strict=True)
    )
    if dataset.parts is None:
        return Purity(classes, (None,) * len(classes))
    part_class = class_of_parts(dataset)
    own_parts = [(np.flatnonzero(part_class == label) + 1).tolist() for label in prototype_class]
    parts = _parts_of(nearest, dataset).numpy()[used.numpy()]
    return Purity(classes, tuple(part_purity(patches, own) for patches, own in zip(parts, own_parts, strict=True)))


def part_purity(parts: npt.NDArray[np.int64], own: Iterable[int]) -> float | None:
    """Compute the fraction of patches that show the most frequent part.

    Args:
        parts: (k,) part id of each patch, 0 = no part, ``UNKNOWN`` = not annotated.
        own: Part ids of the prototype's class; no others count.

    Returns:
        Fraction of the annotated patches, 0-1; None without annotated patches or without parts of the class.

    Example:
        >>> part_purity(np.array([2, 2, 1, 0, UNKNOWN]), own=[1, 2])
        0.5
    """
    known = parts[parts != UNKNOWN]
    return max((float((known == part).mean()) for part in own), default=None) if known.size else None


def _fraction(hits: npt.NDArray[np.bool_]) -> float | None:
    return float(hits.mean()) if hits.size else None


def _parts_of(nearest: Nearest, dataset: SegmentationDataset) -> Tensor:
    """Return the (P, k) part id of each patch; several processes share the images, and each image is read once."""
    image, cell, grid = nearest.image.cpu(), nearest.cell.cpu(), nearest.grid.cpu()
    parts = torch.full_like(image, UNKNOWN)
    indices = sorted(set(image.flatten().tolist()) - {-1})
    for index in (indices[position] for position in shard(len(indices))):
        mask, here = dataset[index].parts, image == index
        if mask is not None:
            ids = resize_labels(torch.from_numpy(mask)[None], grid[here][0].tolist()).flatten()
            parts[here] = ids[cell[here]].long()
    return torch.stack(gather(parts)).amax(dim=0)
