"""Part masks of Cityscapes and Pascal in the Panoptic Parts format (Meletis et al., 2020, arXiv 2004.07944)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scaleprotoseg.data.dataset import PartTable
from scaleprotoseg.data.files import PartLabels, list_images, require
from scaleprotoseg.data.images import read_mask
from scaleprotoseg.data.labels import LabelTable, packaged_yaml
from scaleprotoseg.errors import UserError

Ids = npt.NDArray[np.integer[Any]]

MAX_UID = 99_999_99
"""Largest number of the format: two digits for the class, three for the instance and two for the part."""


class PanopticParts:
    """Part masks in the Panoptic Parts format, as a :class:`~scaleprotoseg.data.files.PartSource`.

    Part ids of the files that are not in the table count as "no part".

    Args:
        table: Name of the table in the package, which lists the parts of each class and the ids of each part in files.
        labels: Table of the classes, whose raw ids are the class ids of the files.
        masks: Part mask file of each image by name; images without a file have no part labels.
    """

    def __init__(self, table: str, labels: LabelTable, masks: dict[str, Path]) -> None:
        listed = [
            (class_name, name, _numbers(pids))
            for class_name, parts in packaged_yaml(table).items()
            for name, pids in parts.items()
        ]
        self.table = PartTable(
            names=tuple(name for _, name, _ in listed), classes=tuple(class_name for class_name, *_ in listed)
        )
        self._masks = masks
        self._part_of = np.zeros((100, 100), dtype=np.uint8)  # Indexed by class id and part id of the files.
        for part, (class_name, _, pids) in enumerate(listed, start=1):
            self._part_of[np.ix_(labels.raw_ids[labels.names.index(class_name)], pids)] = part

    def read(self, name: str, size: tuple[int, int]) -> PartLabels:
        """Read the part mask of one image.

        Args:
            name: Name of the image.
            size: (width, height) of the image in pixels.

        Returns:
            Part labels with an (H, W) mask of part ids of the table; without a mask if the image has no file.

        Raises:
            UserError: If the file cannot be read, differs from the image in size, or has another format.
        """
        path = self._masks.get(name)
        if path is None:
            return PartLabels()
        uids = read_mask(path)
        height, width = uids.shape
        if (width, height) != size:
            raise UserError(
                f"{path}: is {width}x{height} but its image is {size[0]}x{size[1]}; "
                "part masks must match pixel by pixel, get both from the same release"
            )
        try:
            sids, _, pids = decode_uids(uids)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        return PartLabels(mask=self._part_of[sids, pids])


def find_part_masks(folders: Iterable[Path], remedy: str, tail: str = "") -> dict[str, Path]:
    """Find the part mask files in several folders.

    Args:
        folders: Folders to search; the mask of an image is in at most one of them.
        remedy: End of the error message, which says what to do if a folder is missing or empty.
        tail: Ending of the stem of the files, after the name of the image.

    Returns:
        The file of each image, by name.

    Raises:
        UserError: If a folder is missing, is empty, cannot be read, or holds two files of the same name.
    """
    masks: dict[str, Path] = {}
    for folder in folders:
        found, faults = list_images(require(folder, remedy), tail)
        if faults:
            raise UserError(faults[0])
        if not found:
            raise UserError(f"{folder}: holds no *{tail}.tif; {remedy}")
        masks |= found
    return masks


def decode_uids(uids: Ids) -> tuple[Ids, Ids, Ids]:
    """Split the numbers of the Panoptic Parts format into class, instance and part ids.

    A number has one or two digits for the class, which may be followed by three for the instance, which may be followed
    by two for the part.

    Args:
        uids: Numbers, in an array of any shape.

    Returns:
        Class ids, instance ids and part ids of the same shape; 0 where a number has no digits for instance or part.

    Raises:
        UserError: If a number does not have this format.
    """
    invalid = uids[(uids < 0) | (uids > MAX_UID) | ((uids > 99) & (uids < 1000))]
    if invalid.size:
        raise UserError(
            f"holds {invalid[0]}, which is not a number of the Panoptic Parts format (1-2, 4-5 or 6-7 digits); "
            "replace the file"
        )
    whole = uids.astype(np.int32)
    np.multiply(whole, 100, out=whole, where=uids <= 99_999)
    np.multiply(whole, 1000, out=whole, where=uids <= 99)
    things, pids = np.divmod(whole, 100)
    sids, iids = np.divmod(things, 1000)
    return sids, iids, pids


def _numbers(text: int | str | list[int | str]) -> list[int]:
    """Return the numbers in ``3``, ``"3-5"`` or a list of such entries."""
    if isinstance(text, list):
        return [number for item in text for number in _numbers(item)]
    first, _, last = str(text).partition("-")
    return list(range(int(first), int(last or first) + 1))
