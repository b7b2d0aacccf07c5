"""Masks of object parts, from part masks or keypoints."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scaleprotoseg.data.dataset import Keypoint, Sample


def squared_distances(point: Keypoint, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Compute the squared distance in pixels between a point and the center of every pixel.

    Args:
        point: Keypoint in coordinates of the image.
        size: (height, width) of the image.

    Returns:
        (H, W) squared distances.
    """
    rows, columns = np.ogrid[: size[0], : size[1]]
    return np.asarray((rows + 0.5 - point.y) ** 2 + (columns + 0.5 - point.x) ** 2)


def part_mask(sample: Sample, radius: float) -> npt.NDArray[np.uint8]:
    """Return the part ids of all pixels of a sample.

    If only keypoints are annotated, each pixel within ``radius`` of a keypoint gets the part of the nearest one.

    Args:
        sample: Sample with a part mask, keypoints or neither.
        radius: Largest distance in pixels between a keypoint and the pixels of its part.

    Returns:
        (H, W) part ids, 0 = no part.
    """
    if sample.parts is not None:
        return sample.parts
    mask = np.zeros((sample.image.height, sample.image.width), np.uint8)
    nearest = np.full(mask.shape, float(radius**2))
    for point in sample.keypoints or ():
        distance = squared_distances(point, mask.shape)
        closer = distance <= nearest
        mask[closer], nearest[closer] = point.part, distance[closer]
    return mask
