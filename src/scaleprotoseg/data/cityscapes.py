"""Cityscapes with its 19 benchmark classes, from the fine annotations, and the parts of Cityscapes Panoptic Parts."""

from __future__ import annotations

from pathlib import Path

from scaleprotoseg.data.files import PairedFiles, pair_folders, require, whole_pairing
from scaleprotoseg.data.labels import packaged_table
from scaleprotoseg.data.panoptic_parts import PanopticParts, find_part_masks

_PAGE = "from the Cityscapes download page"
_PARTS = f"give the folder gtFinePanopticParts of gtFinePanopticParts_trainval.zip {_PAGE}"


def cityscapes(root: Path, split: str, parts: Path | None = None) -> PairedFiles:
    """Open one split of Cityscapes.

    Args:
        root: Folder that holds ``leftImg8bit/`` and ``gtFine/``.
        split: ``train`` (2975 images), ``val`` (500 images) or ``test`` (1525 images without labels, since the mask
            files of this split are empty).
        parts: Folder ``gtFinePanopticParts``, which has no test split; None to read no parts.

    Raises:
        UserError: If a folder is missing or images, masks and part masks do not match.
    """
    images = require(root / "leftImg8bit" / split, f"unpack leftImg8bit_trainvaltest.zip {_PAGE} into {root}")
    masks = None
    if split != "test":
        masks = require(root / "gtFine" / split, f"unpack gtFine_trainvaltest.zip {_PAGE} into {root}")
    pairing = pair_folders(images, masks, "_leftImg8bit", "_gtFine_labelIds")
    labels = packaged_table("cityscapes")
    source = None
    if parts is not None and split != "test":
        found = find_part_masks([parts / split], _PARTS, "_gtFinePanopticParts")
        source = PanopticParts("parts/cityscapes", labels, found)
    return whole_pairing("cityscapes", split, pairing, labels, source)
