"""Correlations over the cells of one class in one image."""

from __future__ import annotations

from torch import Tensor

from scaleprotoseg.training.losses.class_cells import Segments

MIN_CELLS = 6
"""Smallest number of cells of a class in an image for which correlations are meaningful."""


def standardize(segments: Segments, values: Tensor) -> Tensor:
    """Return (n, S, M) values shifted to mean 0 and scaled to length 1 over each segment.

    The sum over a segment of the product of two such values is their correlation. Values that hardly vary become
    shorter than 1, and so hardly correlate with anything.
    """
    size = segments.size.clamp_min(1)[:, None, None].to(values.dtype)
    values = values - (segments.sum(values) / size)[segments.segment]
    # The constant keeps the length of constant values above 0.
    length = (segments.sum(values.square()) + 1e-4 * size).sqrt()
    return values / length[segments.segment]
