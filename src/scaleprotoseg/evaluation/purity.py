"""Purity: whether the patches a prototype is nearest to show one thing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.distributed import gather, share
from scaleprotoseg.model.inference import require_prototypes, used_prototypes
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.parts import class_of_parts
from scaleprotoseg.model.search import Nearest, nearest_patches

UNKNOWN = -1
"""Part of a patch in a picture without a part mask, and of a patch that there is not."""


@dataclass(frozen=True)
class Purity:
    """What the nearest patches of each of the P' prototypes in use show, as shares in 0-1.

    Attributes:
        classes: (P',) patches labelled with the prototype's class; None without any patch.
        parts: (P',) patches on the one part of its class that most of them are on, among those in pictures with a part
            mask; None without such a patch, and for classes without parts.
    """

    classes: tuple[float | None, ...]
    parts: tuple[float | None, ...]


def score_purity(
    network: Network,
    dataset: SegmentationDataset,
    k: int = 10,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Purity:
    """Looks up the k nearest patches of each prototype in use, of any class, each of another picture.

    A patch has the label and the part under the centre of its cell. Several processes share the pictures.

    Args:
        network: In eval mode.
        dataset: Pictures with masks.
        k: Patches of each prototype; fewer if there are fewer pictures.
        progress: Wraps the picture indices to show progress.

    Raises:
        UserError: If the network has no prototypes, or a picture no mask.
    """
    used = used_prototypes(network)
    nearest = nearest_patches(network, dataset, k, own_class=False, once_a_picture=True, progress=progress)
    labels, found = nearest.label.cpu()[used].numpy(), nearest.image.cpu()[used].numpy() >= 0
    classes = require_prototypes(network).prototypes.prototype_class.cpu()[used].tolist()
    shares = [_share(mine[there] == label) for mine, there, label in zip(labels, found, classes, strict=True)]
    if dataset.parts is None:
        return Purity(tuple(shares), (None,) * len(shares))
    part_class = class_of_parts(dataset)
    own = [(np.flatnonzero(part_class == label) + 1).tolist() for label in classes]
    parts = _parts_of(nearest, dataset).numpy()[used.numpy()]
    return Purity(tuple(shares), tuple(part_purity(mine, ids) for mine, ids in zip(parts, own, strict=True)))


def part_purity(parts: npt.NDArray[np.int64], own: Iterable[int]) -> float | None:
    """The largest share of patches on one and the same part.

    Args:
        parts: (k,) part id of each patch, 0 = no part, ``UNKNOWN`` where it is not known.
        own: Part ids that count, those of the prototype's class.

    Returns:
        A share in 0-1; None if no part counts or none is known.
    """
    known = parts[parts != UNKNOWN]
    return max((float((known == part).mean()) for part in own), default=None) if known.size else None


def _share(hits: npt.NDArray[np.bool_]) -> float | None:
    return float(hits.mean()) if hits.size else None


def _parts_of(nearest: Nearest, dataset: SegmentationDataset) -> Tensor:
    """(P, k) part id of each patch; every picture is read once, by one of the processes."""
    image, cell, grid = nearest.image.cpu(), nearest.cell.cpu(), nearest.grid.cpu()
    parts = torch.full_like(image, UNKNOWN)
    indices = sorted(set(image.flatten().tolist()) - {-1})
    for index in (indices[place] for place in share(len(indices))):
        mask, here = dataset[index].parts, image == index
        if mask is not None:
            ids = resize_labels(torch.from_numpy(mask)[None], grid[here][0].tolist()).flatten()
            parts[here] = ids[cell[here]].long()
    return torch.stack(gather(parts)).amax(dim=0)
