"""What every head returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """One named result for all networks; what a head does not have is None.

    Attributes:
        logits: (B, C, h, w) class scores at feature resolution.
        groups: (B, G, h, w) group activations, > 0.
        similarities: (B, P, h, w) similarities to the prototypes, > 0.
        distances: (B, P, h, w) squared distances to the prototypes, >= 0.
    """

    logits: Tensor
    groups: Tensor | None = None
    similarities: Tensor | None = None
    distances: Tensor | None = None
