"""Some of the images of a data set."""

from __future__ import annotations

from collections.abc import Iterable

from scaleprotoseg.data.dataset import Sample, SegmentationDataset


class Subset(SegmentationDataset):
    """Some of the images of a data set.

    Args:
        dataset: The data set.
        indices: Indices of the images in it.
    """

    def __init__(self, dataset: SegmentationDataset, indices: Iterable[int]) -> None:
        self.name, self.split, self.labels, self.parts = dataset.name, dataset.split, dataset.labels, dataset.parts
        self.indices = list(indices)
        self._dataset = dataset

    @property
    def sample_names(self) -> list[str]:
        """Names of the images."""
        names = self._dataset.sample_names
        return [names[index] for index in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        """Read one image."""
        return self._dataset[self.indices[index]]


def spread(dataset: SegmentationDataset, count: int) -> SegmentationDataset:
    """Return at most ``count`` images that are spread evenly over a data set."""
    if len(dataset) <= count:
        return dataset
    return Subset(dataset, (index * len(dataset) // count for index in range(count)))
