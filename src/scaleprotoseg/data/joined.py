"""Several data sets as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from scaleprotoseg.data.dataset import Sample, SegmentationDataset


class Joined(SegmentationDataset):
    """The samples of several data sets with the same classes, one data set after the other.

    Args:
        datasets: At least one data set. The name, split, classes and parts are those of the first; only its samples
            have parts.
    """

    def __init__(self, datasets: Sequence[SegmentationDataset]) -> None:
        first = datasets[0]
        self.name, self.split, self.labels, self.parts = first.name, first.split, first.labels, first.parts
        self._datasets = datasets
        self._ends = list(accumulate(map(len, datasets)))

    @property
    def sample_names(self) -> list[str]:
        """Names of all samples; those of later data sets begin with the name of the data set."""
        first, *others = self._datasets
        return [*first.sample_names, *(f"{one.name}/{name}" for one in others for name in one.sample_names)]

    def __getitem__(self, index: int) -> Sample:
        """Read one sample."""
        position = bisect_right(self._ends, index)
        if position == 0:
            return self._datasets[0][index]
        sample = self._datasets[position][index - self._ends[position - 1]]
        name = f"{self._datasets[position].name}/{sample.name}"
        return Sample(name, sample.image, sample.mask, bands=sample.bands)
