"""Opening data by name or by path."""

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
    """How a data set known by name is opened.

    Attributes:
        open: Takes the root folder and the split, and where parts lie if it takes parts; gives the data set.
        layout: What the root folder holds; None if the data set needs no folder (its root may then be None).
        splits: The splits there are.
        pictures: How many pictures a split has when it is complete, where that is known.
        paper: Whether the paper reports results on it (section 4.1).
        paper_size: The size pictures are resized to for these, as ``network.input.size``.
        takes_parts: Whether parts that lie elsewhere can be read with it.
    """

    open: Callable[..., SegmentationDataset]
    layout: str | None = None
    splits: tuple[str, ...] = ("train", "val", "test")
    pictures: Mapping[str, int] = field(default_factory=dict)
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
        pictures={"train": 20, "val": 10},
        paper=True,
    ),
    "voc2012": Reader(
        voc2012,
        layout="JPEGImages/, SegmentationClass/, ImageSets/ (the VOC2012 folder)",
        splits=("train", "val", "train_aug", "test"),
        takes_parts=True,
        pictures={"train": 1464, "val": 1449, "train_aug": 10582, "test": 1456},
        paper=True,
        paper_size=(513, 513),
    ),
    "cityscapes": Reader(
        cityscapes,
        layout="leftImg8bit/, gtFine/",
        takes_parts=True,
        pictures={"train": 2975, "val": 500, "test": 1525},
        paper=True,
    ),
    "ade20k": Reader(
        ade20k,
        layout="images/, annotations/ (ADEChallengeData2016)",
        splits=("train", "val"),
        pictures={"train": 20210, "val": 2000},
        paper=True,
        paper_size=512,
    ),
    "coco_stuff": Reader(
        coco_stuff,
        layout="images/, stuffthingmaps_trainval2017/",
        splits=("train", "val"),
        pictures={"train": 118287, "val": 5000},
        paper=True,
    ),
}
"""The data sets known by name; a new one is one line here."""


def open_dataset(
    name_or_dir: str, split: str, root: Path | None = None, parts: Path | None = None
) -> SegmentationDataset:
    """Opens one split of a known data set or of a person's own folder.

    A known name comes before a folder of the same name; write ``./name`` for the folder.

    Args:
        name_or_dir: A name in :data:`READERS`, or the path of a folder with ``images/`` and ``masks/``.
        split: One of :func:`data_splits`.
        root: Where a known data set lies.
        parts: Where part labels lie, for ``cityscapes`` (the folder gtFinePanopticParts)
            and ``voc2012`` (the folder of Pascal Panoptic Parts, or a keypoints file).

    Raises:
        UserError: If the name, the split or a folder is unknown, or files do not fit together.
    """
    reader = READERS.get(name_or_dir)
    if parts is not None and (reader is None or not reader.takes_parts):
        able = ", ".join(name for name, reader in READERS.items() if reader.takes_parts)
        raise UserError(f"{name_or_dir}: takes no parts from {parts}; leave it out (only {able} take parts)")
    if reader is None:
        return folder(_own_folder(name_or_dir, root), split)
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


def data_splits(name_or_dir: str, root: Path | None = None) -> tuple[str, ...]:
    """The splits of a known data set or of a person's own folder.

    Raises:
        UserError: If it is neither.
    """
    reader = READERS.get(name_or_dir)
    return folder_splits(_own_folder(name_or_dir, root)) if reader is None else reader.splits


def _own_folder(name_or_dir: str, root: Path | None) -> Path:
    """The path of a person's own folder."""
    path = Path(name_or_dir).expanduser()
    if not path.exists() and len(path.parts) == 1:
        close = difflib.get_close_matches(name_or_dir.lower(), READERS, n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        raise UserError(
            f"{name_or_dir}: neither a known data set nor a folder; {meant}known are {', '.join(READERS)}, "
            "or name a folder with images/ and masks/"
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
        raise UserError(f"{path}: may not be looked at (permission denied); change its permissions") from error
    if not os.access(path, os.R_OK | os.X_OK):
        raise UserError(f"{path}: may not be read (permission denied); change its permissions")
