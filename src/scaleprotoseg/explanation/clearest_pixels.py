"""The pixels that a page offers to explain first: for each predicted class, the one with the largest margin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from scaleprotoseg.explanation.decomposition import Decomposition
from scaleprotoseg.model.upsampling import upsampled_strips

SMALLEST_START = 0.005
"""Classes that cover at least this fraction of the image are preferred for the first explanation."""

CLEAR = 0.25
"""A margin counts as clear if it is at least this fraction of the largest margin."""

EDGE = 10
"""The edge of an image is one ``EDGE``-th of its width or height on each side."""


@dataclass(frozen=True)
class ClearestPixel:
    """The pixel of a predicted class with the largest margin.

    Attributes:
        index: Train id of the class.
        fraction: Fraction of the image predicted as this class, 0-1.
        margin: Logit of the class minus the next best logit, at the pixel.
        x: Column of the pixel.
        y: Row of the pixel.
    """

    index: int
    fraction: float
    margin: float
    x: int
    y: int


def clearest_pixels(decomposition: Decomposition) -> tuple[ClearestPixel, ...]:
    """Return the clearest pixel of every predicted class, the class with most pixels first.

    Pixels at the edge of the image, where the region shown is cut off, are chosen only if a class has no others.
    """
    prediction = decomposition.prediction
    height, width = prediction.shape
    inner = np.zeros(prediction.shape, dtype=bool)
    inner[height // EDGE : height - height // EDGE, width // EDGE : width - width // EDGE] = True
    margins = _margins(decomposition.logits, width, height)
    found = []
    for index, fraction in decomposition.class_fractions.items():
        inside = prediction == index
        candidates = inside & inner if (inside & inner).any() else inside
        y, x = np.unravel_index(np.where(candidates, margins, -np.inf).argmax(), inside.shape)
        found.append(ClearestPixel(index, fraction, float(margins[y, x]), int(x), int(y)))
    return tuple(found)


def choose_start(pixels: tuple[ClearestPixel, ...]) -> ClearestPixel:
    """Choose the pixel to explain first: of the smallest class that is large enough and has a clear margin.

    Large classes (sky, road, background) are rarely what a user asks about.
    """
    visible = [pixel for pixel in pixels if pixel.fraction >= SMALLEST_START] or list(pixels)
    clear = CLEAR * max(pixel.margin for pixel in visible)
    return min((pixel for pixel in visible if pixel.margin >= clear), key=lambda pixel: pixel.fraction)


def _margins(logits: Tensor, width: int, height: int) -> npt.NDArray[np.float32]:
    """Compute the (height, width) difference between the two best logits of every pixel."""
    best = (scores.topk(min(2, len(logits)), dim=0).values for scores in upsampled_strips(logits, width, height))
    return np.concatenate([(values[0] - values[-1]).float().numpy() for values in best])
