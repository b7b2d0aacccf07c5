"""Which variant of consistency and stability; apart from what computes them, so that the command line starts fast."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scaleprotoseg.errors import UserError


@dataclass(frozen=True)
class PartOptions:
    """Which variant of the scores.

    Attributes:
        hit: When a part mask counts as hit: ``centroid`` if the centroid of any of its connected components is on (the
            paper); ``area`` if at least ``area`` of its pixels are.
        area: Share of a part's pixels, above 0 and at most 1, for ``area``.
        radius: A keypoint is hit if a pixel at most this far from it is on; in pixels of the picture as given.
        quantile: Activations above it are on.
        agreement: A unit is consistent if it hits one part in more than this share of the pictures that show the part.
        noise: On the normalised picture, from N(0, ``deviation``^2): ``gaussian`` as it is (the paper), ``clipped`` to
            +-0.25 (Huang et al.).
        deviation: Of the noise.
        seed: Of the noise.

    Raises:
        UserError: If a value is out of its range.
    """

    hit: Literal["centroid", "area"] = "centroid"
    area: float = 0.5
    radius: float = 10.0
    quantile: float = 0.8
    agreement: float = 0.8
    noise: Literal["gaussian", "clipped"] = "gaussian"
    deviation: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        ranges = {
            "area": (0 < self.area <= 1, "more than 0 and at most 1"),
            "radius": (0 <= self.radius < math.inf, "0 or more"),
            "quantile": (0 <= self.quantile < 1, "0 <= quantile < 1"),
            "agreement": (0 <= self.agreement < 1, "0 <= agreement < 1"),
            "deviation": (0 <= self.deviation < math.inf, "0 or more"),
            "seed": (self.seed >= 0, "0 or more"),
        }
        for name, (fits, wanted) in ranges.items():
            if not fits:
                raise UserError(f"part_scores.{name} is {getattr(self, name)}; give {wanted}")


PAPER = PartOptions()
"""The variant of the paper."""
