"""Data sets of image files with mask files: pairing the files by name, and reading one pair."""

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

from scaleprotoseg.data.bands import Bands
from scaleprotoseg.data.dataset import Keypoint, PartTable, Sample, SegmentationDataset
from scaleprotoseg.data.images import read_mask
from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.data.pixels import IMAGE_SUFFIXES, as_image, read_pixels
from scaleprotoseg.errors import UserError


@dataclass(frozen=True)
class Pair:
    """An image file and its mask file (None: not labeled), with the name that both share."""

    name: str
    image: Path
    mask: Path | None = None


@dataclass(frozen=True)
class Pairing:
    """Result of matching the files of two folders by name.

    Attributes:
        pairs: All images by name, sorted, each with its mask if there is one.
        unlabelled: Error message for each name that lacks its mask.
        orphans: Error message for each mask without an image.
        faults: Error message for every other fault: folders that cannot be read, names that occur twice.
    """

    pairs: dict[str, Pair]
    unlabelled: dict[str, str]
    orphans: list[str]
    faults: list[str]


class AbsentSplitError(UserError):
    """Error about a split that is not on disk, which may be intended if it is downloaded separately."""


class FaultyDataError(UserError):
    """Error about files of a data set that do not match.

    Attributes:
        faults: All faults, one line each; the error message is the first.
        usable: Data set of all samples that have their files, for further checks; None if the classes are unknown.
    """

    def __init__(self, faults: Sequence[str], usable: PairedFiles | None) -> None:
        more = f" (and {len(faults) - 1} more; run scaleprotoseg check-data)" if len(faults) > 1 else ""
        super().__init__(faults[0] + more)
        self.faults = tuple(faults)
        self.usable = usable


@dataclass(frozen=True)
class PartLabels:
    """Part labels of one image, as in :class:`~scaleprotoseg.data.dataset.Sample`; None where there are none."""

    mask: npt.NDArray[np.uint8] | None = None
    keypoints: tuple[Keypoint, ...] | None = None


class PartSource(Protocol):
    """Part labels that are stored separately from images and masks.

    Attributes:
        table: Table of the parts.
    """

    table: PartTable

    def read(self, name: str, size: tuple[int, int]) -> PartLabels:
        """Read the part labels of one image.

        Args:
            name: Name of the image.
            size: (width, height) of the image in pixels.

        Raises:
            UserError: If the labels cannot be read or do not match the image.
        """


@dataclass
class Inspection:
    """Contents of one pair, as far as they can be read.

    Attributes:
        image: Image in mode RGB; None if unreadable.
        mask: (H, W) train ids; None if there is no mask or it cannot be used.
        parts: Part labels, as far as there are any and they can be used.
        bands: (H, W, N) values in 0-1 of an image with other bands than 8-bit red, green and blue; None for others.
        faults: All faults, one line each.
    """

    image: Image.Image | None = None
    mask: npt.NDArray[np.uint8] | None = None
    parts: PartLabels = PartLabels()
    bands: Bands | None = None
    faults: list[str] = field(default_factory=list)


class PairedFiles(SegmentationDataset):
    """One split of a data set whose samples are an image file and a mask file.

    Args:
        name: Name of the data set, as on the command line.
        split: Name of the split.
        pairs: Files of the samples.
        labels: Table of the classes.
        read: Function that reads the raw (H, W) values of a mask file, whose meaning ``labels`` defines.
        parts: Source of the part labels, if there are any.
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
        """Read one image with its mask and part labels.

        Raises:
            UserError: If a file cannot be read, the files differ in size, or the mask holds unknown values.
        """
        found = self.inspect(index)
        if found.image is None or found.faults:
            raise UserError(found.faults[0])
        name = printable_name(self.pairs[index].name)
        return Sample(name, found.image, found.mask, found.parts.mask, found.parts.keypoints, found.bands)

    def inspect(self, index: int) -> Inspection:
        """Read one pair and list all its faults, instead of raising the first."""
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
                "masks must match pixel by pixel, export one of the two again"
            )
        try:
            found.mask = self.labels.to_train_ids(raw)
        except UserError as error:
            found.faults.append(f"{mask}: {error}")


def pair_folders(images: Path, masks: Path | None, image_tail: str = "", mask_tail: str = "") -> Pairing:
    """Match the images of one folder with the masks of another by their path without tail and extension.

    Sub-folders are searched as well; hidden files and files that are not images are ignored. No file is opened.

    Args:
        images: Folder of the images.
        masks: Folder of the masks; None if the images have none.
        image_tail: Ending of the stem of every image, such as ``_leftImg8bit`` in Cityscapes; other files are ignored.
        mask_tail: Ending of the stem of every mask.
    """
    found, image_faults = list_images(images, image_tail)
    if masks is None:
        return Pairing({name: Pair(name, path) for name, path in found.items()}, {}, [], image_faults)
    labeled, mask_faults = list_images(masks, mask_tail)
    pairs = {name: Pair(name, path, labeled.get(name)) for name, path in found.items()}
    if (image_faults and not found) or (mask_faults and not labeled):
        return Pairing(pairs, {}, [], image_faults + mask_faults)  # One missing folder is one fault, not hundreds.
    unlabeled = {
        name: f"{pair.image}: has no mask; add {masks / name}{mask_tail}.png or remove the image"
        for name, pair in pairs.items()
        if pair.mask is None
    }
    extension = next((path.suffix for path in found.values()), ".jpg")
    orphans = [
        f"{path}: is a mask without an image; add {images / name}{image_tail}{extension} or remove the mask"
        for name, path in labeled.items()
        if name not in found
    ]
    return Pairing(pairs, unlabeled, orphans, image_faults + mask_faults)


def list_images(folder: Path, tail: str = "") -> tuple[dict[str, Path], list[str]]:
    """List all image files in a folder and its sub-folders.

    Args:
        folder: Folder to search.
        tail: Ending of the stem of the files; other files are ignored.

    Returns:
        The files, sorted by name, and all faults, one line each. The name is the path below ``folder`` without tail and
        extension, with ``/`` between folders, in the same Unicode form (NFC) on every system. Faults are unreadable
        folders, and two files of the same name, of which the first is listed.
    """
    faults: list[str] = []

    def report(error: OSError) -> None:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            faults.append(f"{error.filename}: no such folder; create it or check the path")
        else:
            faults.append(f"{error.filename}: folder cannot be read ({error.strerror}); change its permissions")

    paths = []
    for top, folders, names in os.walk(folder, onerror=report, followlinks=True):
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
    """Convert a file name to one Unicode form (NFC), since some systems store accents separately from letters."""
    return unicodedata.normalize("NFC", name)


def printable_name(name: str) -> str:
    """Replace the bytes of a file name that are not UTF-8, which some systems allow, by replacement characters."""
    return os.fsencode(name).decode("utf-8", "replace")


def printable(text: str) -> str:
    """Replace characters that not every terminal can show: control characters, and bytes that are not UTF-8."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def on_disk(path: Path) -> bool:
    """Return True if a folder or file exists.

    Raises:
        UserError: If access to it is denied.
    """
    try:
        return path.exists()
    except PermissionError as error:
        raise UserError(f"{path}: cannot be accessed (permission denied); change its permissions") from error


def require(path: Path, remedy: str) -> Path:
    """Return the path of a folder or file that a split needs.

    Args:
        path: Folder or file.
        remedy: End of the error message, which says what to do if it is missing.

    Raises:
        AbsentSplitError: If it does not exist.
        UserError: If access to it is denied.
    """
    if not on_disk(path):
        raise AbsentSplitError(f"{path}: is missing; {remedy}")
    return path


def whole_pairing(
    name: str, split: str, pairing: Pairing, labels: LabelTable, parts: PartSource | None = None
) -> PairedFiles:
    """Return the data set of a pairing in which every image has its mask, and every mask its image.

    Raises:
        FaultyDataError: If files are missing or names occur twice.
    """
    pairs = [pair for pair in pairing.pairs.values() if pair.name not in pairing.unlabelled]
    faults = [*pairing.faults, *pairing.unlabelled.values(), *pairing.orphans]
    return whole_or_error(PairedFiles(name, split, pairs, labels, parts=parts), faults)


def whole_or_error(dataset: PairedFiles, faults: Sequence[str]) -> PairedFiles:
    """Return a data set that has samples and no faults.

    Raises:
        FaultyDataError: If there are faults or no samples.
    """
    if not faults and not dataset.pairs:
        faults = [
            f"{dataset.name}: split {dataset.split} has no images ({', '.join(sorted(IMAGE_SUFFIXES))}); add some"
        ]
    if faults:
        raise FaultyDataError(faults, dataset)
    return dataset
