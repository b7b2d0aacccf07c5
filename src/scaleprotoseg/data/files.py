"""Data sets of picture files with mask files: pairing them by name, and reading one pair."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from scaleprotoseg.data.dataset import Sample, SegmentationDataset
from scaleprotoseg.data.images import IMAGE_SUFFIXES, read_image, read_mask
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
        unlabelled: For each name without a mask, what is wrong and what to do.
        orphans: For each mask without a picture, what is wrong and what to do.
        faults: What else is wrong: folders that cannot be read, names that occur twice.
    """

    pairs: dict[str, Pair]
    unlabelled: dict[str, str]
    orphans: list[str]
    faults: list[str]


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


@dataclass
class Inspection:
    """One pair as far as it can be read.

    Attributes:
        image: The picture, mode RGB; None if unreadable.
        mask: (H, W) train ids; None if there are none or they cannot be used.
        faults: What is wrong, one line each.
    """

    image: Image.Image | None = None
    mask: npt.NDArray[np.uint8] | None = None
    faults: list[str] = field(default_factory=list)


class PairedFiles(SegmentationDataset):
    """One split of a data set whose samples are a picture file and a mask file.

    Args:
        name: Name of the data set, as on the command line.
        split: Name of the split.
        pairs: The samples.
        labels: The classes.
        read: Gives the raw (H, W) values of a mask file; they mean what ``labels`` says.
    """

    def __init__(
        self,
        name: str,
        split: str,
        pairs: Iterable[Pair],
        labels: LabelTable,
        read: Callable[[Path], npt.NDArray[np.integer[Any]]] = read_mask,
    ) -> None:
        self.name = name
        self.split = split
        self.pairs = tuple(pairs)
        self.labels = labels
        self._read = read

    @property
    def sample_names(self) -> list[str]:
        """Names of all samples, in order."""
        return [printable_name(pair.name) for pair in self.pairs]

    def __getitem__(self, index: int) -> Sample:
        """Reads one picture and its mask.

        Raises:
            UserError: If a file is unreadable, the two differ in size, or the mask holds unknown values.
        """
        found = self.inspect(index)
        if found.image is None or found.faults:
            raise UserError(found.faults[0])
        return Sample(printable_name(self.pairs[index].name), found.image, found.mask)

    def inspect(self, index: int) -> Inspection:
        """Reads one pair and lists all that is wrong with it, instead of raising."""
        pair = self.pairs[index]
        found = Inspection()
        try:
            found.image = read_image(pair.image)
        except UserError as error:
            found.faults.append(str(error))
        if pair.mask is None:
            return found
        try:
            raw = self._read(pair.mask)
        except UserError as error:
            found.faults.append(str(error))
            return found
        height, width = raw.shape
        if found.image is not None and found.image.size != (width, height):
            size = f"{found.image.width}x{found.image.height}"
            found.faults.append(
                f"{pair.image}: is {size} but its mask {pair.mask} is {width}x{height}; "
                "masks must match pixel by pixel, export one of them again"
            )
        try:
            found.mask = self.labels.to_train_ids(raw)
        except UserError as error:
            found.faults.append(f"{pair.mask}: {error}")
        return found


def pair_folders(images: Path, masks: Path) -> Pairing:
    """Matches the pictures of one folder with the masks of another by their path without the ending.

    Sub-folders are looked through; hidden files and files that are no pictures are passed over. Nothing is opened.
    """
    pictures, picture_faults = list_pictures(images)
    labelled, mask_faults = list_pictures(masks)
    pairs = {name: Pair(name, path, labelled.get(name)) for name, path in pictures.items()}
    if (picture_faults and not pictures) or (mask_faults and not labelled):
        return Pairing(pairs, {}, [], picture_faults + mask_faults)  # One missing folder is one fault, not hundreds.
    unlabelled = {
        name: f"{pair.image}: has no mask; add {masks / (name + '.png')} or take the image out"
        for name, pair in pairs.items()
        if pair.mask is None
    }
    orphans = [
        f"{path}: a mask without an image; add {images / (name + '.jpg')} or take the mask out"
        for name, path in labelled.items()
        if name not in pictures
    ]
    return Pairing(pairs, unlabelled, orphans, picture_faults + mask_faults)


def list_pictures(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """All picture files under a folder.

    Returns:
        The files, sorted by name; the name is the path below ``folder`` without the ending, with ``/`` between
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
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    found: dict[str, Path] = {}
    for path in sorted(paths):
        name = normal_name(path.relative_to(folder).with_suffix("").as_posix())
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
