"""Overlap: how much units of one class point at the same pixels (paper, section 4.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import starmap

import numpy as np
import numpy.typing as npt

from scaleprotoseg.data.dataset import SegmentationDataset, require_mask
from scaleprotoseg.distributed import gather, share
from scaleprotoseg.model.units import Maps, Units, above_quantile, at_pixels

QUANTILES = (0.8, 0.9, 0.95, 0.99)
"""Activations above these quantiles, over a class's pixels in a picture, are on."""


def pairwise_iou(on: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Intersection over union of every two of U regions.

    Args:
        on: (U, n) which of n pixels are in each region.

    Returns:
        (U, U) values in 0-1; NaN for two empty regions.
    """
    counts = on.astype(np.float32)
    both = (counts @ counts.T).astype(np.float64)
    size = both.diagonal()
    with np.errstate(invalid="ignore"):
        return np.asarray(both / (size + size[:, None] - both))


def score_overlap(
    maps_of: Maps,
    units: Sequence[Units],
    dataset: SegmentationDataset,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[npt.NDArray[np.float64]]:
    """How much every two units of a class overlap, averaged over the pictures that show the class.

    Args:
        maps_of: Activations of the units on a picture.
        units: The levels.
        dataset: Pictures with masks.
        progress: Wraps the picture indices to show progress.

    Returns:
        For each level (len(QUANTILES), U, U) mean IoU; NaN for units of two classes, and for a unit with itself.

    Raises:
        UserError: If a picture has no mask.
    """
    shapes = [(len(QUANTILES), len(level.index), len(level.index)) for level in units]
    sums, counts = ([np.zeros(shape) for shape in shapes] for _ in range(2))
    for index in progress(share(len(dataset))):
        sample = dataset[index]
        mask = require_mask(dataset, sample)
        for level, maps, total, count in zip(units, maps_of(sample, None), sums, counts, strict=True):
            for label in np.intersect1d(np.unique(mask), level.unit_class.numpy()):
                mine = level.of(int(label))
                values = at_pixels(maps[mine], mask == label)
                for place, quantile in enumerate(QUANTILES):
                    iou = pairwise_iou(above_quantile(values, quantile))
                    total[place][np.ix_(mine, mine)] += np.nan_to_num(iou)
                    count[place][np.ix_(mine, mine)] += ~np.isnan(iou)
    sums, counts = ([np.sum(parts, axis=0) for parts in zip(*gather(mine), strict=True)] for mine in (sums, counts))
    with np.errstate(invalid="ignore"):
        means = list(starmap(np.divide, zip(sums, counts, strict=True)))
    for mean in means:
        mean[:, np.arange(mean.shape[1]), np.arange(mean.shape[1])] = np.nan
    return means


def mean_overlap(
    overlaps: npt.NDArray[np.float64], scale: npt.NDArray[np.int64] | None
) -> dict[str, list[float | None]]:
    """Mean overlap over pairs, at each of :data:`QUANTILES`.

    Args:
        overlaps: (len(QUANTILES), U, U) as :func:`score_overlap` gives them.
        scale: (U,) scale of each prototype; None for groups.

    Returns:
        ``within_scale`` and ``across_scales`` for prototypes, ``groups`` for groups; None where there is no pair.
    """
    if scale is None:
        return {"groups": [_mean(overlap) for overlap in overlaps]}
    same = scale == scale[:, None]
    return {
        "within_scale": [_mean(overlap[same]) for overlap in overlaps],
        "across_scales": [_mean(overlap[~same]) for overlap in overlaps],
    }


def overlap_by_kind(
    units: Sequence[Units], overlaps: Sequence[npt.NDArray[np.float64]]
) -> dict[str, list[float | None]]:
    """Mean overlap of all kinds of pairs, at each of :data:`QUANTILES`.

    Args:
        units: The levels.
        overlaps: Of each level, as :func:`score_overlap` gives them.

    Returns:
        What :func:`mean_overlap` gives of every level.
    """
    means: dict[str, list[float | None]] = {}
    for level, values in zip(units, overlaps, strict=True):
        means |= mean_overlap(values, None if level.scale is None else level.scale.numpy())
    return means


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None
