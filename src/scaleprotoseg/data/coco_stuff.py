"""COCO-Stuff 164k: the images of COCO 2017, with things and stuff in one mask."""

from __future__ import annotations

from pathlib import Path

from scaleprotoseg.data.files import PairedFiles, on_disk, pair_folders, require, whole_pairing
from scaleprotoseg.data.labels import packaged_table

MASK_FOLDERS = ("stuffthingmaps_trainval2017", "annotations", ".")
"""Folders below the root in which the contents of the mask archive may lie."""


def coco_stuff(root: Path, split: str) -> PairedFiles:
    """Open one split of COCO-Stuff 164k.

    Args:
        root: Folder that holds ``images/train2017`` and ``images/val2017``, and mask folders of the same names in one
            of :data:`MASK_FOLDERS`.
        split: ``train`` (118287 images) or ``val`` (5000 images).

    Raises:
        UserError: If a folder is missing or images and masks do not match.
    """
    folder = f"{split}2017"
    images = require(
        root / "images" / folder, f"unpack {folder}.zip from the COCO download page into {root / 'images'}"
    )
    places = [root / place / folder for place in MASK_FOLDERS]
    masks = require(
        next((place for place in places if on_disk(place)), places[0]),
        f"unpack stuffthingmaps_trainval2017.zip from the COCO-Stuff page into {places[0].parent}",
    )
    return whole_pairing("coco_stuff", split, pair_folders(images, masks), packaged_table("coco_stuff"))
