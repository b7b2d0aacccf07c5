"""Target pixels of the object parts in an image, and the units that hit them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scaleprotoseg.data.dataset import Keypoint, Sample, SegmentationDataset
from scaleprotoseg.data.part_masks import squared_distances
from scaleprotoseg.inference.part_options import PartOptions

Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

Targets = dict[int, Integers]
"""For the id of each part, the flat indices of the pixels that a unit must be active at to hit the part."""


def class_of_parts(dataset: SegmentationDataset) -> Integers:
    """Return the (T,) class of each part of a data set, with T = 0 if it has no parts."""
    names = dataset.parts.classes if dataset.parts else ()
    return np.array([dataset.labels.names.index(name) for name in names], np.int64)


def targets_of(
    sample: Sample, mask: npt.NDArray[np.uint8], part_class: Integers, options: PartOptions
) -> dict[int, Targets]:
    """Find the target pixels of the parts that an image shows.

    Of a part mask, only the pixels labeled with the part's class count. A keypoint counts if its class is labeled
    anywhere in the image, even if the keypoint itself lies beside it.

    Args:
        sample: An image with a part mask, with keypoints or with neither.
        mask: (H, W) train ids of the image.
        part_class: (T,) class of each part.
        options: Condition for a hit.

    Returns:
        The targets by class, for each class with parts that the image shows.
    """
    if sample.parts is not None:
        return _targets_of_mask(sample.parts, mask, part_class, options)
    return _targets_of_keypoints(sample.keypoints or (), mask, part_class, options)


def _targets_of_mask(
    parts: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8], part_class: Integers, options: PartOptions
) -> dict[int, Targets]:
    targets: dict[int, Targets] = {}
    for part in np.unique(parts[parts > 0]).tolist():
        label = int(part_class[part - 1])
        region = (parts == part) & (mask == label)
        if region.any():
            pixels = centroids(region) if options.hit == "centroid" else np.flatnonzero(region)
            targets.setdefault(label, {})[part] = pixels
    return targets


def _targets_of_keypoints(
    keypoints: tuple[Keypoint, ...], mask: npt.NDArray[np.uint8], part_class: Integers, options: PartOptions
) -> dict[int, Targets]:
    labels = set(np.unique(mask).tolist())
    targets: dict[int, Targets] = {}
    for point in keypoints:
        label = int(part_class[point.part - 1])
        if label in labels:
            of_class = targets.setdefault(label, {})
            pixels = pixels_near(point, options.radius, mask.shape)
            of_class[point.part] = np.union1d(of_class.get(point.part, pixels), pixels)
    return targets


def centroids(region: Bools) -> Integers:
    """Find the pixels that contain the centroids of a region's connected components.

    A centroid may lie outside of its component.

    Args:
        region: (H, W) pixels of the region; pixels that touch at a corner are connected.

    Returns:
        Flat indices, one per component.

    Example:
        >>> centroids(np.array([[0, 1, 0, 0], [0, 1, 0, 1], [0, 1, 0, 0]], dtype=bool))
        array([5, 7])
    """
    components, _ = ndimage.label(region, structure=np.ones((3, 3)))
    coordinates = region.nonzero()
    component = components[coordinates] - 1
    size = np.bincount(component)
    centers = [(np.bincount(component, weights=axis) / size + 0.5).astype(np.int64) for axis in coordinates]
    return np.asarray(np.ravel_multi_index(tuple(centers), region.shape))


def pixels_near(point: Keypoint, radius: float, size: tuple[int, int]) -> Integers:
    """Find the pixel that contains a point, and the pixels whose centers are at most ``radius`` away from it.

    Args:
        point: A point inside the image.
        radius: In pixels.
        size: (height, width) of the image.

    Returns:
        Flat indices.

    Example:
        >>> pixels_near(Keypoint(part=1, x=1.5, y=0.5), radius=1, size=(2, 4))
        array([0, 1, 2, 5])
    """
    near = squared_distances(point, size) <= radius**2
    near[int(point.y), int(point.x)] = True
    return np.flatnonzero(near)


def hits_of(active: Bools, targets: Targets, least_fraction: float = 0.0) -> Bools:
    """Determine which parts each unit hits.

    Args:
        active: (U, H, W) pixels at which each of U units is active.
        targets: Target pixels of t parts.
        least_fraction: Fraction of a part's target pixels that must be active; at least one pixel must be in any case.

    Returns:
        (t, U) hits, parts in the order of ``targets``.

    Example:
        >>> active = np.array([[[True, False], [False, False]]])
        >>> hits_of(active, {1: np.array([0, 1]), 2: np.array([2, 3])})
        array([[ True],
               [False]])
    """
    flat = active.reshape(len(active), active.shape[1] * active.shape[2])
    fractions = np.stack([flat[:, pixels].mean(axis=1) for pixels in targets.values()])
    return np.asarray((fractions > 0) & (fractions >= least_fraction))
