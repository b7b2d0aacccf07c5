"""The interface of all data sets: samples with an image and, where annotated, its class and part labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch.utils.data import Dataset

from scaleprotoseg.data.bands import Bands
from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.data.pixels import Pixels
from scaleprotoseg.errors import UserError


@dataclass(frozen=True)
class Keypoint:
    """An object part of which one point is annotated.

    Attributes:
        part: Part id in the data set's :class:`PartTable`, from 1.
        x: Distance in pixels from the left edge of the image at its original size, at least 0 and below its width.
        y: Distance in pixels from the upper edge, at least 0 and below the height.
    """

    part: int
    x: float
    y: float


@dataclass(frozen=True)
class Sample:
    """One image and its annotations.

    Attributes:
        name: Name that is unique within the split (usually the path of the image file without its extension).
        image: Image in mode RGB, at its original size.
        mask: (H, W) train ids, ``VOID`` where unlabeled; None if the image has no labels (test sets).
        parts: (H, W) part ids of the data set's :class:`PartTable`, 0 = no part; None without part masks.
        keypoints: Annotated points of parts, several for the same part if there are several objects; None if the image
            has no such annotation.
        bands: (H, W, N) values in 0-1 of an image with other bands than 8-bit red, green and blue, for which ``image``
            is only a rendering; None for all other images.
    """

    name: str
    image: Image.Image
    mask: npt.NDArray[np.uint8] | None = None
    parts: npt.NDArray[np.uint8] | None = None
    keypoints: tuple[Keypoint, ...] | None = None
    bands: Bands | None = None

    @property
    def pixels(self) -> Pixels:
        """Input of the network: the bands of the image if it has any, otherwise the RGB image."""
        return self.image if self.bands is None else self.bands


@dataclass(frozen=True)
class PartTable:
    """The annotated object parts of a data set, each of which belongs to one class.

    Attributes:
        names: Part names, unique within a class; the part id is the position + 1, since 0 means "no part".
        classes: Name of the class that each part belongs to.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(zip(self.classes, self.names, strict=True))) < len(self.names):
            raise ValueError("part table: a class has two parts of the same name; names must differ within a class")


class SegmentationDataset(Dataset[Sample], ABC):
    """One split of a data set.

    Attributes:
        name: Name of the data set, as on the command line.
        split: Name of the split, such as ``train``, ``val`` or ``test``.
        labels: Table of the classes.
        parts: Table of the object parts, or None if the data set has no part labels.
    """

    name: str
    split: str
    labels: LabelTable
    parts: PartTable | None = None

    @property
    @abstractmethod
    def sample_names(self) -> list[str]:
        """Names of all samples, in order, without reading any sample."""

    def __len__(self) -> int:
        return len(self.sample_names)

    def __repr__(self) -> str:
        images = f"{len(self)} image{'' if len(self) == 1 else 's'}"
        classes = f"{len(self.labels)} class{'' if len(self.labels) == 1 else 'es'}"
        return f"<{type(self).__name__} {self.name}/{self.split}: {images}, {classes}>"

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Read one sample.

        Raises:
            UserError: If its files cannot be read, differ in size, or hold values that are not in the label table.
        """


def require_mask(dataset: SegmentationDataset, sample: Sample) -> npt.NDArray[np.uint8]:
    """Return the mask of a sample that must have one.

    Raises:
        UserError: If it has none.
    """
    if sample.mask is None:
        raise UserError(f"{dataset.name}: {sample.name} has no mask; choose a split with a mask for every image")
    return sample.mask
