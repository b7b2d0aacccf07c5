"""The diversity loss: keeps the prototypes of one class and scale apart (ScaleProtoSeg, section 3.1)."""

from __future__ import annotations

from torch import Tensor

from scaleprotoseg.training.losses.averaging import masked_mean
from scaleprotoseg.training.losses.class_cells import OwnPrototypes, Segments

MIN_CELLS = 2
"""Smallest number of cells of a class in an image that is compared."""


class Diversity:
    """Mean of ``exp(-D_J)`` over all pairs of prototypes of one class and scale.

    For image b, class c on at least two cells, and two of its prototypes j < k at one scale, let v_j be the softmax
    over the cells of the class of the distances d_j. Then ``D_J = (KL(v_j|v_k) + KL(v_k|v_j)) / 2``, which equals half
    the sum over the cells of ``(v_j - v_k) (d_j - d_k)``. One gather of each cell's own prototypes and three sums over
    the segments (image, class) therefore compute all pairs at once.

    Args:
        own: The prototypes of each class.
    """

    def __init__(self, own: OwnPrototypes) -> None:
        self.own = own

    def __call__(self, distances: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            distances: (B, P, h, w) squared distances.
            labels: (B, h, w) train ids.

        Returns:
            Scalar in 0-1; 0 if there is no pair.
        """
        segments = Segments(self.own, labels)
        own = segments.own_values(distances)
        exponentials = (own - segments.amax(own)[segments.segment]).exp()
        softmax = exponentials / segments.sum(exponentials)[segments.segment]
        left, right = self.own.left, self.own.right
        sums = segments.sum((softmax[..., left] - softmax[..., right]) * (own[..., left] - own[..., right]))
        return masked_mean((-0.5 * sums).exp(), segments.mask(self.own.pairs, MIN_CELLS))
