"""Overlap: intersection over union of the regions that units of the same class respond to (paper, section 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import starmap

import numpy as np
import numpy.typing as npt
from torch import Tensor

from scaleprotoseg.data.dataset import SegmentationDataset, require_mask
from scaleprotoseg.distributed import gather, shard
from scaleprotoseg.evaluation.context import Context
from scaleprotoseg.inference.units import MapsFunction, Units, above_quantile, activations_of, at_pixels, units_of
from scaleprotoseg.progress import Progress

Values = npt.NDArray[np.float64]

QUANTILES = (0.8, 0.9, 0.95, 0.99)
"""Quantiles of a unit's activations, over the pixels of its class in an image, above which the unit is active."""


def pairwise_iou(active: npt.NDArray[np.bool_]) -> Values:
    """Compute the intersection over union of every two of U regions.

    Args:
        active: (U, n) membership of n pixels in each region.

    Returns:
        (U, U) values in 0-1; NaN for two empty regions.

    Example:
        >>> pairwise_iou(np.array([[True, True, False], [False, True, False]]))
        array([[1. , 0.5],
               [0.5, 1. ]])
    """
    counts = active.astype(np.float32)
    both = (counts @ counts.T).astype(np.float64)
    size = both.diagonal()
    with np.errstate(invalid="ignore"):
        return np.asarray(both / (size + size[:, None] - both))


def score_overlap(
    maps_of: MapsFunction,
    units: Sequence[Units],
    dataset: SegmentationDataset,
    progress: Progress = iter,
) -> list[Values]:
    """Compute the overlap of every two units of a class, averaged over the images that show the class.

    Several processes share the images.

    Args:
        maps_of: Computes the activations of the units on an image.
        units: The units of each level.
        dataset: Images with masks.
        progress: Wraps the image indices to show progress.

    Returns:
        (len(QUANTILES), U, U) mean IoU for each level; NaN for units of different classes, and for a unit with itself.

    Raises:
        UserError: If an image has no mask.
    """
    shapes = [(len(QUANTILES), len(level.index), len(level.index)) for level in units]
    sums, counts = ([np.zeros(shape) for shape in shapes] for _ in range(2))
    for index in progress(shard(len(dataset))):
        sample = dataset[index]
        mask = require_mask(dataset, sample)
        for level, maps, total, count in zip(units, maps_of(sample, None), sums, counts, strict=True):
            _add_image(level, maps, mask, total, count)
    sums, counts = ([np.sum(parts, axis=0) for parts in zip(*gather(own), strict=True)] for own in (sums, counts))
    with np.errstate(invalid="ignore"):
        means = list(starmap(np.divide, zip(sums, counts, strict=True)))
    for mean in means:
        mean[:, np.arange(mean.shape[1]), np.arange(mean.shape[1])] = np.nan
    return means


def _add_image(level: Units, maps: Tensor, mask: npt.NDArray[np.uint8], total: Values, count: Values) -> None:
    """Add the overlaps in one image.

    Args:
        level: U units.
        maps: (U, h, w) activations.
        mask: (H, W) train ids.
        total: (len(QUANTILES), U, U) sums of IoU, changed in place.
        count: (len(QUANTILES), U, U) numbers of images in the sums, changed in place.
    """
    for label in np.intersect1d(np.unique(mask), level.unit_class.numpy()):
        own = level.of(int(label))
        values = at_pixels(maps[own], mask == label)
        for position, quantile in enumerate(QUANTILES):
            iou = pairwise_iou(above_quantile(values, quantile))
            total[position][np.ix_(own, own)] += np.nan_to_num(iou)
            count[position][np.ix_(own, own)] += ~np.isnan(iou)


def unit_overlaps(context: Context) -> list[Values]:
    """Compute the :func:`score_overlap` of a model's prototypes and groups."""
    units = units_of(context.network)
    maps_of = activations_of(context.network, units)
    return score_overlap(maps_of, units, context.dataset, context.progress)


def mean_overlap(overlaps: Values, scale: npt.NDArray[np.int64] | None) -> dict[str, list[float | None]]:
    """Average the overlap over pairs of units, at each of :data:`QUANTILES`.

    Args:
        overlaps: (len(QUANTILES), U, U) overlaps from :func:`score_overlap`.
        scale: (U,) scale of each prototype; None for groups.

    Returns:
        Means ``within_scale`` and ``across_scales`` for prototypes, ``groups`` for groups; None without pairs.

    Example:
        >>> overlaps = np.array([[[np.nan, 0.5], [0.5, np.nan]]])
        >>> mean_overlap(overlaps, scale=np.array([0, 0]))
        {'within_scale': [0.5], 'across_scales': [None]}
    """
    if scale is None:
        return {"groups": [_mean(overlap) for overlap in overlaps]}
    same = scale == scale[:, None]
    return {
        "within_scale": [_mean(overlap[same]) for overlap in overlaps],
        "across_scales": [_mean(overlap[~same]) for overlap in overlaps],
    }


def overlap_by_kind(units: Sequence[Units], overlaps: Sequence[Values]) -> dict[str, list[float | None]]:
    """Average the overlap over each kind of pair, at each of :data:`QUANTILES`.

    Args:
        units: The units of each level.
        overlaps: Overlaps of each level, from :func:`score_overlap`.

    Returns:
        The results of :func:`mean_overlap` for all levels.
    """
    means: dict[str, list[float | None]] = {}
    for level, values in zip(units, overlaps, strict=True):
        means |= mean_overlap(values, None if level.scale is None else level.scale.numpy())
    return means


def _mean(values: Values) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None
