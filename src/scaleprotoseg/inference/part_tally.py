"""Counts of the images in which units hit object parts, and the scores that follow from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scaleprotoseg.inference.part_targets import Bools, Integers


@dataclass(frozen=True)
class PartScores:
    """Consistency and stability of the units of one level, in 0-1; None if no unit could be scored.

    Attributes:
        consistency: Fraction of consistent units among those for whose class some image shows a part.
        stability: Fraction of the pairs of a unit and an image in which noise changes no hit.
        scored: Number of units that were scored.
    """

    consistency: float | None
    stability: float | None
    scored: int


@dataclass
class Tally:
    """Numbers of images, for U units and T parts.

    Attributes:
        hits: (U, T) images in which a unit hits a part.
        steady: (U, T) images in which a unit hits a part both without and with noise.
        shown: (T,) images that show the part.
        equal: (U,) images in which noise changes no hit.
        images: (U,) images that show a part of the unit's class.
    """

    hits: Integers
    steady: Integers
    shown: Integers
    equal: Integers
    images: Integers

    @classmethod
    def zeros(cls, units: int, parts: int) -> Tally:
        """Return a tally of no images."""
        return cls(*(np.zeros(shape, np.int64) for shape in ((units, parts), (units, parts), parts, units, units)))

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(one + another for one, another in zip(vars(self).values(), vars(other).values(), strict=True)))

    def count(self, units: npt.NDArray[np.intp], parts: Iterable[int], clean: Bools, noisy: Bools) -> None:
        """Add the hits of the units and parts of one class in one image.

        Args:
            units: (u,) positions of the class's units.
            parts: Ids of the t parts of the class that the image shows.
            clean: (t, u) hits without noise.
            noisy: (t, u) hits with noise.
        """
        columns = np.array(list(parts)) - 1
        self.hits[np.ix_(units, columns)] += clean.T
        self.steady[np.ix_(units, columns)] += (clean & noisy).T
        self.shown[columns] += 1
        self.equal[units] += (clean == noisy).all(axis=0)
        self.images[units] += 1

    def agreement(self, hits: Integers, part_class: Integers, unit_class: Integers) -> npt.NDArray[np.float64]:
        """Return how often each unit hits the part of its class that it hits most often.

        Args:
            hits: (U, T) hits that count: ``self.hits`` or ``self.steady``.
            part_class: (T,) class of each part.
            unit_class: (U,) class of each unit.

        Returns:
            (U,) largest fraction, over the parts, of the images with the part in which the unit hits it; NaN for units
            for whose class no image shows a part.
        """
        counted = (part_class == unit_class[:, None]) & (self.shown > 0)
        fractions = np.where(counted, hits / self.shown.clip(1), -np.inf).max(axis=1, initial=-np.inf)
        return np.where(counted.any(axis=1), fractions, np.nan)

    def scores(self, part_class: Integers, unit_class: Integers, agreement: float) -> PartScores:
        """Compute consistency and stability.

        Args:
            part_class: (T,) class of each part.
            unit_class: (U,) class of each unit.
            agreement: Fraction of the images above which a unit is consistent.
        """
        fractions = self.agreement(self.hits, part_class, unit_class)
        scored = ~np.isnan(fractions)
        if not scored.any():
            return PartScores(None, None, 0)
        consistency, stability = (fractions[scored] > agreement).mean(), self.equal.sum() / self.images.sum()
        return PartScores(float(consistency), float(stability), int(scored.sum()))
