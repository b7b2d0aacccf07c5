"""Where parts are, as masks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scaleprotoseg.data.dataset import Keypoint, Sample


def squared_distances(point: Keypoint, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """(H, W) squared distance of every pixel's centre from a point, in pixels.

    Args:
        point: In the picture's coordinates.
        size: (height, width) of the picture.
    """
    rows, columns = np.ogrid[: size[0], : size[1]]
    return np.asarray((rows + 0.5 - point.y) ** 2 + (columns + 0.5 - point.x) ** 2)


def part_mask(sample: Sample, radius: float) -> npt.NDArray[np.uint8]:
    """(H, W) part ids, 0 where there is none.

    Around keypoints every pixel is of the nearest point's part.

    Args:
        sample: With part masks, keypoints or neither.
        radius: How far a part reaches of which only the point is known, in pixels.
    """
    if sample.parts is not None:
        return sample.parts
    mask = np.zeros((sample.image.height, sample.image.width), np.uint8)
    nearest = np.full(mask.shape, float(radius**2))
    for point in sample.keypoints or ():
        far = squared_distances(point, mask.shape)
        closer = far <= nearest
        mask[closer], nearest[closer] = point.part, far[closer]
    return mask
