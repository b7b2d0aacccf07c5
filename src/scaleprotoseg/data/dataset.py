"""What every data set gives: samples with an image, its labels, and sometimes its parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch.utils.data import Dataset

from scaleprotoseg.data.bands import Bands, Pixels
from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.errors import UserError


@dataclass(frozen=True)
class Keypoint:
    """A part of which one point is known.

    Attributes:
        part: Part id of the data set's :class:`PartTable`, from 1.
        x: Pixels from the left edge of the picture as given, 0 to below its width.
        y: Pixels from its upper edge, 0 to below its height.
    """

    part: int
    x: float
    y: float


@dataclass(frozen=True)
class Sample:
    """One picture and what is known of it.

    Attributes:
        name: Unique within its split (the file's stem).
        image: The picture, mode RGB, at its own size.
        mask: (H, W) train ids, ``VOID`` where unlabelled; None if the picture has no labels (test sets).
        parts: (H, W) part ids of the data set's :class:`PartTable`, 0 = no part; None without part masks.
        keypoints: The parts of which points are known, several of one part where there are several objects; None
            without such labels.
        bands: (H, W, N) values in 0-1 of a picture that has other bands than red, green and blue in 8 bits, of which
            ``image`` is what people see; None for all others.
    """

    name: str
    image: Image.Image
    mask: npt.NDArray[np.uint8] | None = None
    parts: npt.NDArray[np.uint8] | None = None
    keypoints: tuple[Keypoint, ...] | None = None
    bands: Bands | None = None

    @property
    def pixels(self) -> Pixels:
        """What a network reads."""
        return self.image if self.bands is None else self.bands


@dataclass(frozen=True)
class PartTable:
    """The annotated parts of classes.

    Attributes:
        names: Part names, unique within a class; part id = position + 1, for 0 means "no part".
        classes: The class name each part belongs to.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(zip(self.classes, self.names, strict=True))) < len(self.names):
            raise ValueError("part table: a class has two parts of one name; names must differ within a class")


class SegmentationDataset(Dataset[Sample], ABC):
    """One split of a data set.

    Attributes:
        name: Name of the data set, as on the command line.
        split: ``train``, ``val`` or ``test``.
        labels: Its classes.
        parts: Its parts, or None.
    """

    name: str
    split: str
    labels: LabelTable
    parts: PartTable | None = None

    @property
    @abstractmethod
    def sample_names(self) -> list[str]:
        """Names of all samples, in order, without reading them."""

    def __len__(self) -> int:
        return len(self.sample_names)

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Reads one sample.

        Raises:
            UserError: If its files are unreadable, disagree in size, or hold values outside the label table.
        """


def require_mask(dataset: SegmentationDataset, sample: Sample) -> npt.NDArray[np.uint8]:
    """The mask of a sample, for what cannot do without.

    Raises:
        UserError: If it has none.
    """
    if sample.mask is None:
        raise UserError(f"{dataset.name}: {sample.name} has no mask; choose a split with a mask for every picture")
    return sample.mask
