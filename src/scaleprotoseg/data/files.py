"""Data sets of picture files with mask files: pairing them by name, and reading one pair."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from scaleprotoseg.data.bands import Bands, as_image, read_pixels
from scaleprotoseg.data.dataset import Keypoint, PartTable, Sample, SegmentationDataset
from scaleprotoseg.data.images import IMAGE_SUFFIXES, read_mask
from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.errors import UserError


@dataclass(frozen=True)
class Pair:
    """A picture file and its mask file (None: not labelled), under the name they share."""

    name: str
    image: Path
    mask: Path | None = None


@dataclass(frozen=True)
class Pairing:
    """What two folders give when their files are matched by name.

    Attributes:
        pairs: Every picture by name, sorted, with its mask if there is one.
        unlabelled: For each name without the mask it should have, what is wrong and what to do.
        orphans: For each mask without a picture, what is wrong and what to do.
        faults: What else is wrong: folders that cannot be read, names that occur twice.
    """

    pairs: dict[str, Pair]
    unlabelled: dict[str, str]
    orphans: list[str]
    faults: list[str]


class AbsentSplitError(UserError):
    """A split that is not on disk, as happens to those that are downloaded apart from the others."""


class FaultyDataError(UserError):
    """Files that do not fit together.

    Attributes:
        faults: Every fault, one line each; the message is the first.
        usable: The data set of all samples that have their files, for looking further; None without known classes.
    """

    def __init__(self, faults: Sequence[str], usable: PairedFiles | None) -> None:
        more = f" (and {len(faults) - 1} more; run scaleprotoseg check-data)" if len(faults) > 1 else ""
        super().__init__(faults[0] + more)
        self.faults = tuple(faults)
        self.usable = usable


@dataclass(frozen=True)
class PartLabels:
    """The parts of one picture, as :class:`~scaleprotoseg.data.dataset.Sample` gives them; None where not labelled."""

    mask: npt.NDArray[np.uint8] | None = None
    keypoints: tuple[Keypoint, ...] | None = None


class PartSource(Protocol):
    """Part labels that lie apart from pictures and masks.

    Attributes:
        table: The parts.
    """

    table: PartTable

    def read(self, name: str, size: tuple[int, int]) -> PartLabels:
        """The parts of the picture called ``name``, which is ``size`` = (width, height) pixels large.

        Raises:
            UserError: If they cannot be read or do not fit the picture.
        """


@dataclass
class Inspection:
    """One pair as far as it can be read.

    Attributes:
        image: The picture, mode RGB; None if unreadable.
        mask: (H, W) train ids; None if there are none or they cannot be used.
        parts: Its parts, as far as there are any and they can be used.
        bands: (H, W, N) values in 0-1 of a picture with other bands than red, green and blue.
        faults: What is wrong, one line each.
    """

    image: Image.Image | None = None
    mask: npt.NDArray[np.uint8] | None = None
    parts: PartLabels = PartLabels()
    bands: Bands | None = None
    faults: list[str] = field(default_factory=list)


class PairedFiles(SegmentationDataset):
    """One split of a data set whose samples are a picture file and a mask file.

    Args:
        name: Name of the data set, as on the command line.
        split: Name of the split.
        pairs: The samples.
        labels: The classes.
        read: Gives the raw (H, W) values of a mask file; they mean what ``labels`` says.
        parts: Where the parts of the pictures are, if they have any.
    """

    def __init__(
        self,
        name: str,
        split: str,
        pairs: Iterable[Pair],
        labels: LabelTable,
        read: Callable[[Path], npt.NDArray[np.integer[Any]]] = read_mask,
        parts: PartSource | None = None,
    ) -> None:
        self.name = name
        self.split = split
        self.pairs = tuple(pairs)
        self.labels = labels
        self.parts = None if parts is None else parts.table
        self._read = read
        self._part_source = parts

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def sample_names(self) -> list[str]:
        """Names of all samples, in order."""
        return [printable_name(pair.name) for pair in self.pairs]

    def __getitem__(self, index: int) -> Sample:
        """Reads one picture, its mask and its parts.

        Raises:
            UserError: If a file is unreadable, they differ in size, or the mask holds unknown values.
        """
        found = self.inspect(index)
        if found.image is None or found.faults:
            raise UserError(found.faults[0])
        name = printable_name(self.pairs[index].name)
        return Sample(name, found.image, found.mask, found.parts.mask, found.parts.keypoints, found.bands)

    def inspect(self, index: int) -> Inspection:
        """Reads one pair and lists all that is wrong with it, instead of raising."""
        pair = self.pairs[index]
        found = Inspection()
        try:
            pixels = read_pixels(pair.image)
            found.image = as_image(pixels)
            found.bands = None if isinstance(pixels, Image.Image) else pixels
        except UserError as error:
            found.faults.append(str(error))
        if pair.mask is not None:
            self._inspect_mask(pair.mask, pair, found)
        if self._part_source is not None and found.image is not None:
            try:
                found.parts = self._part_source.read(pair.name, found.image.size)
            except UserError as error:
                found.faults.append(str(error))
        return found

    def _inspect_mask(self, mask: Path, pair: Pair, found: Inspection) -> None:
        try:
            raw = self._read(mask)
        except UserError as error:
            found.faults.append(str(error))
            return
        height, width = raw.shape
        if found.image is not None and found.image.size != (width, height):
            size = f"{found.image.width}x{found.image.height}"
            found.faults.append(
                f"{pair.image}: is {size} but its mask {mask} is {width}x{height}; "
                "masks must match pixel by pixel, export one of them again"
            )
        try:
            found.mask = self.labels.to_train_ids(raw)
        except UserError as error:
            found.faults.append(f"{mask}: {error}")


def pair_folders(images: Path, masks: Path | None, image_tail: str = "", mask_tail: str = "") -> Pairing:
    """Matches the pictures of one folder with the masks of another by their path without tail and ending.

    Sub-folders are looked through; hidden files and files that are no pictures are passed over. Nothing is opened.

    Args:
        images: Holds the pictures.
        masks: Holds the masks; None if the pictures have none.
        image_tail: What the stem of every picture ends in, as ``_leftImg8bit`` of Cityscapes; other files are passed
            over.
        mask_tail: The same for masks.
    """
    pictures, picture_faults = list_pictures(images, image_tail)
    if masks is None:
        return Pairing({name: Pair(name, path) for name, path in pictures.items()}, {}, [], picture_faults)
    labelled, mask_faults = list_pictures(masks, mask_tail)
    pairs = {name: Pair(name, path, labelled.get(name)) for name, path in pictures.items()}
    if (picture_faults and not pictures) or (mask_faults and not labelled):
        return Pairing(pairs, {}, [], picture_faults + mask_faults)  # One missing folder is one fault, not hundreds.
    unlabelled = {
        name: f"{pair.image}: has no mask; add {masks / name}{mask_tail}.png or take the image out"
        for name, pair in pairs.items()
        if pair.mask is None
    }
    ending = next((path.suffix for path in pictures.values()), ".jpg")
    orphans = [
        f"{path}: a mask without an image; add {images / name}{image_tail}{ending} or take the mask out"
        for name, path in labelled.items()
        if name not in pictures
    ]
    return Pairing(pairs, unlabelled, orphans, picture_faults + mask_faults)


def list_pictures(folder: Path, tail: str = "") -> tuple[dict[str, Path], list[str]]:
    """All picture files under a folder whose stem ends in ``tail``.

    Returns:
        The files, sorted by name; the name is the path below ``folder`` without tail and ending, with ``/`` between
        folders, in one Unicode spelling (NFC) on every system. And what is wrong, one line each: an unreadable
        folder, or two files of one name, of which the first is kept.
    """
    faults: list[str] = []

    def refuse(error: OSError) -> None:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            faults.append(f"{error.filename}: no such folder; create it or check the path")
        else:
            faults.append(f"{error.filename}: folder cannot be read ({error.strerror}); change its permissions")

    paths = []
    for top, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [
            Path(top, name)
            for name in names
            if not name.startswith(".")
            and Path(name).suffix.lower() in IMAGE_SUFFIXES
            and Path(name).stem.endswith(tail)
        ]
    found: dict[str, Path] = {}
    for path in sorted(paths):
        name = normal_name(path.relative_to(folder).with_suffix("").as_posix()).removesuffix(tail)
        if name in found:
            faults.append(f"{path}: has the same name as {found[name].name}; names must differ, rename or remove one")
        else:
            found[name] = path
    return dict(sorted(found.items())), faults


def normal_name(name: str) -> str:
    """One Unicode spelling of a file name: some systems store accents apart from their letters."""
    return unicodedata.normalize("NFC", name)


def printable_name(name: str) -> str:
    """A file name as text: bytes that are no UTF-8, which some systems allow, become question marks."""
    return os.fsencode(name).decode("utf-8", "replace")


def printable(text: str) -> str:
    """Text without what not every terminal can show: control characters, and bytes of names that are no UTF-8."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def on_disk(path: Path) -> bool:
    """Whether there is such a folder or file.

    Raises:
        UserError: If it may not be looked at.
    """
    try:
        return path.exists()
    except PermissionError as error:
        raise UserError(f"{path}: may not be looked at (permission denied); change its permissions") from error


def require(path: Path, remedy: str) -> Path:
    """A folder or file that a split cannot do without.

    Raises:
        AbsentSplitError: If there is none; ``remedy`` says what to do.
        UserError: If it may not be looked at.
    """
    if not on_disk(path):
        raise AbsentSplitError(f"{path}: is missing; {remedy}")
    return path


def whole_pairing(
    name: str, split: str, pairing: Pairing, labels: LabelTable, parts: PartSource | None = None
) -> PairedFiles:
    """The data set in which every picture has the mask it should have, and every mask its picture.

    Raises:
        FaultyDataError: If files are missing or names occur twice.
    """
    pairs = [pair for pair in pairing.pairs.values() if pair.name not in pairing.unlabelled]
    faults = [*pairing.faults, *pairing.unlabelled.values(), *pairing.orphans]
    return whole_or_error(PairedFiles(name, split, pairs, labels, parts=parts), faults)


def whole_or_error(dataset: PairedFiles, faults: Sequence[str]) -> PairedFiles:
    """The data set if its files fit together.

    Raises:
        FaultyDataError: If there are faults, or no samples.
    """
    if not faults and not dataset.pairs:
        faults = [
            f"{dataset.name}: split {dataset.split} has no images ({', '.join(sorted(IMAGE_SUFFIXES))}); add some"
        ]
    if faults:
        raise FaultyDataError(faults, dataset)
    return dataset
