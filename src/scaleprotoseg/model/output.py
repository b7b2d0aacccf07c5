"""The common output of all heads."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """Class scores, and the values they were computed from; None for values that a head does not have.

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
