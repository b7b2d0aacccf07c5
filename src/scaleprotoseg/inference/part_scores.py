"""Consistency and stability of units: how often they respond to the same object part, without and with noise.

Defined for classification by Huang et al. (ICCV 2023) and for segmentation by the paper (section 4.3): a unit's
activation is upsampled to the image. Among the pixels labeled with the unit's class, the unit is active at those where
its activation is above its 0.8 quantile. It hits a part if it is active at the centroid of one of the part's connected
components.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from scaleprotoseg.data.dataset import SegmentationDataset, require_mask
from scaleprotoseg.distributed import gather, shard
from scaleprotoseg.inference.alterations import noise_of
from scaleprotoseg.inference.part_options import PAPER, PartOptions
from scaleprotoseg.inference.part_tally import PartScores, Tally
from scaleprotoseg.inference.part_targets import Bools, class_of_parts, hits_of, targets_of
from scaleprotoseg.inference.units import MapsFunction, Units, above_quantile, at_pixels
from scaleprotoseg.progress import Progress


def score_parts(
    maps_of: MapsFunction,
    units: Sequence[Units],
    dataset: SegmentationDataset,
    std: Tensor,
    options: PartOptions = PAPER,
    progress: Progress = iter,
) -> list[PartScores] | None:
    """Score the units of every level; for arguments and errors see :func:`tally_parts`.

    Returns:
        Scores of each level; None if the data set has no parts.
    """
    if dataset.parts is None:
        return None
    part_class = class_of_parts(dataset)
    return [
        tally.scores(part_class, level.unit_class.numpy(), options.agreement)
        for tally, level in zip(tally_parts(maps_of, units, dataset, std, options, progress), units, strict=True)
    ]


def tally_parts(
    maps_of: MapsFunction,
    units: Sequence[Units],
    dataset: SegmentationDataset,
    std: Tensor,
    options: PartOptions = PAPER,
    progress: Progress = iter,
) -> list[Tally]:
    """Count the images of a data set in which the units of every level hit object parts.

    Several processes share the images.

    Args:
        maps_of: Computes the activations of the units on an image.
        units: The units of each level.
        dataset: Images with masks and parts.
        std: (channels, 1, 1) standard deviations that the network divides its input by, for the noise.
        options: Conditions for a hit, and noise.
        progress: Wraps the image indices to show progress.

    Returns:
        A tally for each level.

    Raises:
        UserError: If an image has no mask.
    """
    part_class = class_of_parts(dataset)
    tallies = [Tally.zeros(len(level.index), len(part_class)) for level in units]
    for index in progress(shard(len(dataset))):
        sample = dataset[index]
        mask = require_mask(dataset, sample)
        targets = targets_of(sample, mask, part_class, options)
        if not targets:
            continue
        least_fraction = options.area if options.hit == "area" and sample.parts is not None else 0.0
        clean, noisy = maps_of(sample, None), maps_of(sample, noise_of(options, index, std))
        for level, tally, *maps in zip(units, tallies, clean, noisy, strict=True):
            for label, of_class in targets.items():
                own = level.of(label)
                clean_hits, noisy_hits = (
                    hits_of(_active_pixels(one[own], mask == label, options.quantile), of_class, least_fraction)
                    for one in maps
                )
                tally.count(own, of_class, clean_hits, noisy_hits)
    return [sum(parts[1:], parts[0]) for parts in zip(*gather(tallies), strict=True)]


def _active_pixels(maps: Tensor, of_class: npt.NDArray[np.bool_], quantile: float) -> Bools:
    """Return the (U, H, W) pixels of a class at which each of its U units is active, from (U, h, w) activations."""
    active = np.zeros((len(maps), *of_class.shape), bool)
    active[:, of_class] = above_quantile(at_pixels(maps, of_class), quantile)
    return active
