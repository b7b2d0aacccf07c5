"""Options of consistency and stability; separate from their computation, so that the command line starts fast."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scaleprotoseg.errors import UserError


@dataclass(frozen=True)
class PartOptions:
    """Options of consistency and stability.

    Attributes:
        hit: Condition for a hit of a part with a part mask: ``centroid`` if the centroid of any of its connected
            components is active (the paper); ``area`` if at least the fraction ``area`` of its pixels is active.
        area: Fraction of the pixels of a part that must be active with ``area``, above 0 and at most 1.
        radius: Largest distance of an active pixel that hits a keypoint, in pixels of the original image.
        quantile: Quantile of a unit's activations in an image above which a pixel is active, in 0-1.
        agreement: Fraction of the images with a part, in 0-1; a unit is consistent if it hits one part in more than
            this.
        noise: Noise on the normalized image, drawn from N(0, ``deviation``^2): ``gaussian`` without change (the paper),
            or ``clipped`` to +-0.25 (Huang et al.).
        deviation: Standard deviation of the noise.
        seed: Seed of the noise.

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
        for name, (is_valid, valid) in ranges.items():
            if not is_valid:
                raise UserError(f"part_scores.{name} is {getattr(self, name)}; give {valid}")


PAPER = PartOptions()
"""Options of the paper."""
