"""Part masks of Cityscapes and Pascal in the Panoptic Parts format (Meletis et al., 2020, arXiv 2004.07944)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scaleprotoseg.data.dataset import PartTable
from scaleprotoseg.data.files import PartLabels, list_pictures, require
from scaleprotoseg.data.images import read_mask
from scaleprotoseg.data.labels import LabelTable, packaged_yaml
from scaleprotoseg.errors import UserError

Ids = npt.NDArray[np.integer[Any]]

MAX_UID = 99_999_99
"""Largest number of the format: two digits of class, three of instance, two of part."""


class PanopticParts:
    """Part masks in the Panoptic Parts format, as a :class:`~scaleprotoseg.data.files.PartSource`.

    Part ids of the files that the table does not list are no part.

    Args:
        table: Name of the packaged table: for each class its parts, and for each part its ids in the files.
        labels: The classes; their raw ids are those of the files.
        masks: The mask file of each picture by name; pictures without one have no part labels.
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
        self._part_of = np.zeros((100, 100), dtype=np.uint8)  # By class id and part id of the files.
        for part, (class_name, _, pids) in enumerate(listed, start=1):
            self._part_of[np.ix_(labels.raw_ids[labels.names.index(class_name)], pids)] = part

    def read(self, name: str, size: tuple[int, int]) -> PartLabels:
        """The part mask of one picture, (H, W) part ids of the table; without one if there is no file.

        Raises:
            UserError: If the file is unreadable, of another size than the picture, or in another format.
        """
        path = self._masks.get(name)
        if path is None:
            return PartLabels()
        uids = read_mask(path)
        height, width = uids.shape
        if (width, height) != size:
            raise UserError(
                f"{path}: is {width}x{height} but its picture is {size[0]}x{size[1]}; "
                "part masks must match pixel by pixel, get both from the same release"
            )
        try:
            sids, _, pids = decode_uids(uids)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        return PartLabels(mask=self._part_of[sids, pids])


def find_part_masks(folders: Iterable[Path], remedy: str, tail: str = "") -> dict[str, Path]:
    """The part mask files of several folders by picture name.

    Args:
        folders: Where to look; a picture's mask is in at most one of them.
        remedy: What to do if a folder is not as it should be, for the message.
        tail: What the stems of the files end in, besides the name.

    Raises:
        UserError: If a folder is missing, empty, cannot be read, or holds two files of one name.
    """
    masks: dict[str, Path] = {}
    for folder in folders:
        found, faults = list_pictures(require(folder, remedy), tail)
        if faults:
            raise UserError(faults[0])
        if not found:
            raise UserError(f"{folder}: holds no *{tail}.tif; {remedy}")
        masks |= found
    return masks


def decode_uids(uids: Ids) -> tuple[Ids, Ids, Ids]:
    """Splits the numbers of the Panoptic Parts format.

    A number has one or two digits of class; then, if it says more, three of instance; then, if it says more, two of
    part.

    Args:
        uids: Numbers of any shape.

    Returns:
        Class ids, instance ids and part ids of the same shape; 0 where the number says nothing of instance or part.

    Raises:
        UserError: If a number is not of the format.
    """
    strange = uids[(uids < 0) | (uids > MAX_UID) | ((uids > 99) & (uids < 1000))]
    if strange.size:
        raise UserError(
            f"holds {strange[0]}, which is no number of the Panoptic Parts format (1-2, 4-5 or 6-7 digits); "
            "replace the file"
        )
    whole = uids.astype(np.int32)
    np.multiply(whole, 100, out=whole, where=uids <= 99_999)
    np.multiply(whole, 1000, out=whole, where=uids <= 99)
    things, pids = np.divmod(whole, 100)
    sids, iids = np.divmod(things, 1000)
    return sids, iids, pids


def _numbers(text: int | str | list[int | str]) -> list[int]:
    """What ``3``, ``"3-5"`` or a list of these stands for."""
    if isinstance(text, list):
        return [number for item in text for number in _numbers(item)]
    first, _, last = str(text).partition("-")
    return list(range(int(first), int(last or first) + 1))
