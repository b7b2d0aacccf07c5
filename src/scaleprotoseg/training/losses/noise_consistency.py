"""Losses that compare the similarities of an image with those of its noisy copy."""

from __future__ import annotations

from torch import Tensor

from scaleprotoseg.training.losses.averaging import masked_mean
from scaleprotoseg.training.losses.class_cells import OwnPrototypes, Segments
from scaleprotoseg.training.losses.correlation import MIN_CELLS, standardize


class NoiseConsistency:
    """Losses for prototypes that respond to the same cells with and without noise, and each to cells of its own.

    Within one class in one image, let r_jk be the correlation over cells of prototype j's similarity on the image with
    prototype k's similarity on the noisy copy. ``invariance`` is the mean of ``1 - r_jj``: noise must not change where
    a prototype responds. ``redundancy`` is the mean of ``max(0, r_jk + r_kj) / 2`` over pairs of one scale: two
    prototypes must not respond to the same cells. Both follow Barlow Twins (Zbontar et al., 2021), with cells in place
    of images.

    Args:
        own: The prototypes of each class.
    """

    def __init__(self, own: OwnPrototypes) -> None:
        self.own = own

    def __call__(self, similarities: Tensor, noisy: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute both losses.

        Args:
            similarities: (B, P, h, w) similarities on the images.
            noisy: (B, P, h, w) similarities on their noisy copies.
            labels: (B, h, w) train ids.

        Returns:
            ``invariance`` in 0-2 and ``redundancy`` in 0-1; 0 if there is nothing to compare.
        """
        segments = Segments(self.own, labels)
        one, other = (standardize(segments, segments.own_values(maps)) for maps in (similarities, noisy))
        left, right = self.own.left, self.own.right
        both = segments.sum(one[..., left] * other[..., right] + one[..., right] * other[..., left]) / 2
        redundancy = masked_mean(both.clamp_min(0), segments.mask(self.own.pairs, MIN_CELLS))
        return masked_mean(1 - segments.sum(one * other), segments.mask(self.own.exists, MIN_CELLS)), redundancy
