"""Consistency and stability: whether a unit points at one part of its class, and still does so under noise.

Defined for classification by Huang et al. (ICCV 2023) and for segmentation by the paper (section 4.3): a unit's
activation, upsampled, at the labelled pixels of its class, is on where it lies above its 0.8 quantile. A part is hit
if the centroid of one of its connected components is on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from scaleprotoseg.data.dataset import Keypoint, Sample, SegmentationDataset, require_mask
from scaleprotoseg.data.part_masks import squared_distances
from scaleprotoseg.data.seeds import seed_of
from scaleprotoseg.distributed import gather, share
from scaleprotoseg.model.inference import Alter
from scaleprotoseg.model.part_options import PAPER, PartOptions
from scaleprotoseg.model.units import Maps, Units, above_quantile, at_pixels

Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

Targets = dict[int, Integers]
"""By part, the pixels that are looked at to see whether it is hit, as flat indices."""

CLIP = 0.25
"""Largest noise of the ``clipped`` variant (Huang et al., 2023, section 4.2)."""


@dataclass(frozen=True)
class PartScores:
    """Scores of the units of one level, in 0-1; None if no unit could be scored.

    Attributes:
        consistency: Share of consistent units among those whose class shows a part in some picture.
        stability: Share of pairs of a unit and a picture in which noise changes no hit.
        scored: Units that were scored.
    """

    consistency: float | None
    stability: float | None
    scored: int


@dataclass
class Tally:
    """Counts over pictures, of U units and T parts.

    Attributes:
        hits: (U, T) pictures in which a unit hit a part.
        steady: (U, T) pictures in which it did so without and with noise.
        shown: (T,) pictures that show the part.
        equal: (U,) pictures in which noise changed no hit.
        pictures: (U,) pictures that show a part of the unit's class.
    """

    hits: Integers
    steady: Integers
    shown: Integers
    equal: Integers
    pictures: Integers

    @classmethod
    def of(cls, units: int, parts: int) -> Tally:
        """Nothing counted yet."""
        return cls(*(np.zeros(shape, np.int64) for shape in ((units, parts), (units, parts), parts, units, units)))

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)))

    def count(self, units: npt.NDArray[np.intp], parts: Iterable[int], before: Bools, after: Bools) -> None:
        """Adds one picture, as far as the units and parts of one class go.

        Args:
            units: (u,) positions of the class's units.
            parts: The t parts of the class that the picture shows.
            before: (t, u) whether each was hit.
            after: (t, u) whether each was hit in spite of noise.
        """
        columns = np.array(list(parts)) - 1
        self.hits[np.ix_(units, columns)] += before.T
        self.steady[np.ix_(units, columns)] += (before & after).T
        self.shown[columns] += 1
        self.equal[units] += (before == after).all(axis=0)
        self.pictures[units] += 1

    def agreement(self, hits: Integers, part_class: Integers, unit_class: Integers) -> npt.NDArray[np.float64]:
        """(U,) the largest share of the pictures that show a part of its class in which a unit hits that part.

        NaN for units whose class shows no part.

        Args:
            hits: What counts: ``hits`` or ``steady``.
            part_class: (T,) class of each part.
            unit_class: (U,) class of each unit.
        """
        counted = (part_class == unit_class[:, None]) & (self.shown > 0)
        shares = np.where(counted, hits / self.shown.clip(1), -np.inf).max(axis=1, initial=-np.inf)
        return np.where(counted.any(axis=1), shares, np.nan)

    def scores(self, part_class: Integers, unit_class: Integers, agreement: float) -> PartScores:
        """The scores; see :class:`~scaleprotoseg.model.part_options.PartOptions` for ``agreement``.

        Args:
            part_class: (T,) class of each part.
            unit_class: (U,) class of each unit.
            agreement: Share of pictures.
        """
        shares = self.agreement(self.hits, part_class, unit_class)
        scored = ~np.isnan(shares)
        if not scored.any():
            return PartScores(None, None, 0)
        consistency, stability = (shares[scored] > agreement).mean(), self.equal.sum() / self.pictures.sum()
        return PartScores(float(consistency), float(stability), int(scored.sum()))


def centroids(region: Bools) -> Integers:
    """The pixels that hold the centroids of a region's connected components (which may lie outside of them).

    Args:
        region: (H, W); pixels that touch at a corner are connected.

    Returns:
        Flat indices, one a component.
    """
    components, _ = ndimage.label(region, structure=np.ones((3, 3)))
    places = region.nonzero()
    component = components[places] - 1
    size = np.bincount(component)
    centres = [(np.bincount(component, weights=place) / size + 0.5).astype(np.int64) for place in places]
    return np.asarray(np.ravel_multi_index(tuple(centres), region.shape))


def around(point: Keypoint, radius: float, size: tuple[int, int]) -> Integers:
    """The pixel that holds a point, and those whose centres are at most ``radius`` pixels from it.

    Args:
        point: Inside the picture.
        radius: In pixels.
        size: (height, width) of the picture.

    Returns:
        Flat indices.
    """
    near = squared_distances(point, size) <= radius**2
    near[int(point.y), int(point.x)] = True
    return np.flatnonzero(near)


def targets_of(
    sample: Sample, mask: npt.NDArray[np.uint8], part_class: Integers, options: PartOptions
) -> dict[int, Targets]:
    """What a unit must be on to hit the parts that a picture shows.

    A part counts only where its class is labelled. A keypoint may lie beside its class, if that is labelled somewhere.

    Args:
        sample: A picture, with a part mask, keypoints or neither.
        mask: (H, W) its train ids.
        part_class: (T,) class of each part.
        options: The variant.

    Returns:
        For each class with parts that the picture shows, the pixels by part.
    """
    shown: dict[int, Targets] = {}
    if sample.parts is not None:
        for part in np.unique(sample.parts[sample.parts > 0]).tolist():
            label = int(part_class[part - 1])
            region = (sample.parts == part) & (mask == label)
            if region.any():
                pixels = centroids(region) if options.hit == "centroid" else np.flatnonzero(region)
                shown.setdefault(label, {})[part] = pixels
        return shown
    labels = set(np.unique(mask).tolist())
    for point in sample.keypoints or ():
        label = int(part_class[point.part - 1])
        if label in labels:
            targets = shown.setdefault(label, {})
            pixels = around(point, options.radius, mask.shape)
            targets[point.part] = np.union1d(targets.get(point.part, pixels), pixels)
    return shown


def hits_of(on: Bools, targets: Targets, least: float = 0.0) -> Bools:
    """Which parts each unit hits.

    Args:
        on: (U, H, W) where each unit is on.
        targets: The pixels of t parts.
        least: Share of a part's pixels that must be on; one pixel must be in any case.

    Returns:
        (t, U) hits, parts in the order of ``targets``.
    """
    flat = on.reshape(len(on), on.shape[1] * on.shape[2])
    shares = np.stack([flat[:, pixels].mean(axis=1) for pixels in targets.values()])
    return np.asarray((shares > 0) & (shares >= least))


def noise_of(options: PartOptions, picture: int, std: Tensor) -> Alter:
    """Noise on the normalised picture, the same for the same seed and picture.

    Args:
        options: Kind, deviation and seed.
        picture: Index of the picture.
        std: (channels, 1, 1) deviations the network divides by.
    """
    seed = seed_of(options.seed, picture)

    def alter(image: Tensor) -> Tensor:
        noise = options.deviation * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
        return image + std.cpu() * (noise.clamp(-CLIP, CLIP) if options.noise == "clipped" else noise)

    return alter


def score_parts(
    maps_of: Maps,
    units: Sequence[Units],
    dataset: SegmentationDataset,
    std: Tensor,
    options: PartOptions = PAPER,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[PartScores] | None:
    """Consistency and stability of every level's units; see :func:`tally_parts` for arguments and errors.

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


def class_of_parts(dataset: SegmentationDataset) -> Integers:
    """(T,) class of each part of a data set; of length 0 if it has none."""
    names = dataset.parts.classes if dataset.parts else ()
    return np.array([dataset.labels.names.index(name) for name in names], np.int64)


def tally_parts(
    maps_of: Maps,
    units: Sequence[Units],
    dataset: SegmentationDataset,
    std: Tensor,
    options: PartOptions = PAPER,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[Tally]:
    """What every level's units hit on a whole data set; several processes share the pictures.

    Args:
        maps_of: Activations of the units on a picture.
        units: The levels.
        dataset: Pictures with masks and parts.
        std: (channels, 1, 1) deviations the network divides by, for the noise.
        options: The variant.
        progress: Wraps the picture indices to show progress.

    Raises:
        UserError: If a picture has no mask.
    """
    part_class = class_of_parts(dataset)
    tallies = [Tally.of(len(level.index), len(part_class)) for level in units]
    for index in progress(share(len(dataset))):
        sample = dataset[index]
        mask = require_mask(dataset, sample)
        shown = targets_of(sample, mask, part_class, options)
        if not shown:
            continue
        least = options.area if options.hit == "area" and sample.parts is not None else 0.0
        clean, noisy = maps_of(sample, None), maps_of(sample, noise_of(options, index, std))
        for level, tally, *maps in zip(units, tallies, clean, noisy, strict=True):
            for label, targets in shown.items():
                mine = level.of(label)
                on = (_on(one[mine], mask == label, options.quantile) for one in maps)
                before, after = (hits_of(regions, targets, least) for regions in on)
                tally.count(mine, targets, before, after)
    return [sum(parts[1:], parts[0]) for parts in zip(*gather(tallies), strict=True)]


def _on(maps: Tensor, of_class: Bools, quantile: float) -> Bools:
    """(U, H, W) which pixels of a class each of its units is on."""
    on = np.zeros((len(maps), *of_class.shape), bool)
    on[:, of_class] = above_quantile(at_pixels(maps, of_class), quantile)
    return on
