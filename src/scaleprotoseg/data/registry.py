"""Opening data sets by name or by path."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scaleprotoseg.data.ade20k import ade20k
from scaleprotoseg.data.camvid import camvid
from scaleprotoseg.data.cityscapes import cityscapes
from scaleprotoseg.data.coco_stuff import coco_stuff
from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.data.folder import folder, folder_splits
from scaleprotoseg.data.isbi_em import IMAGES, LABELS, IsbiEm
from scaleprotoseg.data.scenes import scenes
from scaleprotoseg.data.voc2012 import voc2012
from scaleprotoseg.errors import UserError


@dataclass(frozen=True)
class Reader:
    """Reader of a data set known by name.

    Attributes:
        open: Function that takes the root folder, the split and, if ``takes_parts`` is True, the path of the part
            labels, and returns the data set.
        layout: Contents of the root folder; None if the data set needs no folder, so that the root may be None.
        splits: Names of the splits.
        image_counts: Number of images in each complete split, where it is known.
        paper: True if the paper reports results on the data set (section 4.1).
        paper_size: Size to which the paper resizes images, as ``network.input.size``; None = original size.
        takes_parts: True if part labels from another folder or file can be read with it.
    """

    open: Callable[..., SegmentationDataset]
    layout: str | None = None
    splits: tuple[str, ...] = ("train", "val", "test")
    image_counts: Mapping[str, int] = field(default_factory=dict)
    paper: bool = False
    paper_size: int | tuple[int, int] | None = None
    takes_parts: bool = False


READERS: dict[str, Reader] = {
    "scenes": Reader(scenes),
    "camvid": Reader(camvid, layout="train/, trainannot/, val/, valannot/, test/, testannot/"),
    "isbi_em": Reader(
        IsbiEm,
        layout=f"{IMAGES} and {LABELS}",
        splits=("train", "val"),
        image_counts={"train": 20, "val": 10},
        paper=True,
    ),
    "voc2012": Reader(
        voc2012,
        layout="JPEGImages/, SegmentationClass/, ImageSets/ (the VOC2012 folder)",
        splits=("train", "val", "train_aug", "test"),
        takes_parts=True,
        image_counts={"train": 1464, "val": 1449, "train_aug": 10582, "test": 1456},
        paper=True,
        paper_size=(513, 513),
    ),
    "cityscapes": Reader(
        cityscapes,
        layout="leftImg8bit/, gtFine/",
        takes_parts=True,
        image_counts={"train": 2975, "val": 500, "test": 1525},
        paper=True,
    ),
    "ade20k": Reader(
        ade20k,
        layout="images/, annotations/ (ADEChallengeData2016)",
        splits=("train", "val"),
        image_counts={"train": 20210, "val": 2000},
        paper=True,
        paper_size=512,
    ),
    "coco_stuff": Reader(
        coco_stuff,
        layout="images/, stuffthingmaps_trainval2017/",
        splits=("train", "val"),
        image_counts={"train": 118287, "val": 5000},
        paper=True,
    ),
}
"""Data sets known by name; a new data set is one more entry."""


def open_dataset(
    name_or_dir: str | os.PathLike[str],
    split: str,
    root: str | os.PathLike[str] | None = None,
    parts: str | os.PathLike[str] | None = None,
) -> SegmentationDataset:
    """Open one split of a data set known by name or of a custom folder.

    Args:
        name_or_dir: Name in :data:`READERS`, or path of a folder with ``images/`` and ``masks/``. A string that is a
            known name is never taken as a path: give ``./name`` or a ``Path`` for a folder of that name.
        split: Name of the split, one of :func:`data_splits`.
        root: Folder of a data set known by name.
        parts: Path of part labels: for ``cityscapes`` the folder ``gtFinePanopticParts``, for ``voc2012`` the folder of
            Pascal Panoptic Parts or a keypoints file.

    Raises:
        UserError: If the data set, the split or a folder does not exist, or the files do not match.

    Example:
        >>> data_splits("camvid")
        ('train', 'val', 'test')
        >>> open_dataset("camvid", "train", root="data/camvid")  # doctest: +SKIP
        <PairedFiles camvid/train: 367 images, 11 classes>
    """
    root, parts = (None if path is None else Path(path) for path in (root, parts))
    reader = _reader(name_or_dir)
    if parts is not None and (reader is None or not reader.takes_parts):
        able = ", ".join(name for name, reader in READERS.items() if reader.takes_parts)
        raise UserError(f"{name_or_dir}: takes no parts from {parts}; leave it out (only {able} take parts)")
    if reader is None:
        return folder(_custom_folder(name_or_dir, root), split)
    if split not in reader.splits:
        raise UserError(f"{name_or_dir}: has no split {split!r}; choose from {', '.join(reader.splits)}")
    if reader.layout is not None:
        if root is None:
            raise UserError(
                f"{name_or_dir}: its folder is missing; give --root DIR (--data.root DIR for train), "
                f"which holds {reader.layout}"
            )
        _check_folder(root)
    return reader.open(root, split, parts) if reader.takes_parts else reader.open(root, split)


def data_splits(name_or_dir: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> tuple[str, ...]:
    """Return the names of the splits of a data set known by name or of a custom folder.

    Args:
        name_or_dir: Name or path, as for :func:`open_dataset`.
        root: None for a custom folder; ignored for data sets known by name.

    Raises:
        UserError: If there is no such data set.

    Example:
        >>> data_splits("ade20k")
        ('train', 'val')
    """
    reader = _reader(name_or_dir)
    return folder_splits(_custom_folder(name_or_dir, root)) if reader is None else reader.splits


def _reader(name_or_dir: str | os.PathLike[str]) -> Reader | None:
    return READERS.get(name_or_dir) if isinstance(name_or_dir, str) else None


def _custom_folder(name_or_dir: str | os.PathLike[str], root: str | os.PathLike[str] | None) -> Path:
    """Return the path of a custom folder after checking that it exists and takes no root."""
    path = Path(name_or_dir).expanduser()
    if isinstance(name_or_dir, str) and not path.exists() and len(path.parts) == 1:
        close = difflib.get_close_matches(name_or_dir.lower(), READERS, n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        raise UserError(
            f"{name_or_dir}: neither a known data set nor a folder; {meant}known are {', '.join(READERS)}, "
            "or give a folder with images/ and masks/"
        )
    _check_folder(path)
    if root is not None:
        raise UserError(f"{path}: --root is only for data sets known by name ({', '.join(READERS)}); leave it out")
    return path


def _check_folder(path: Path) -> None:
    try:
        if not path.is_dir():
            raise UserError(f"{path}: {'not a folder' if path.exists() else 'no such folder'}; check the path")
    except PermissionError as error:
        raise UserError(f"{path}: cannot be accessed (permission denied); change its permissions") from error
    if not os.access(path, os.R_OK | os.X_OK):
        raise UserError(f"{path}: cannot be read (permission denied); change its permissions")
