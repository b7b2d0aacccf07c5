"""CamVid, driving scenes with 11 classes, in the layout of the SegNet release."""

from __future__ import annotations

from pathlib import Path

from scaleprotoseg.data.files import PairedFiles, pair_folders, whole_pairing
from scaleprotoseg.data.labels import packaged_table


def camvid(root: Path, split: str) -> PairedFiles:
    """Open one split of CamVid.

    Args:
        root: Folder that holds ``train/``, ``trainannot/``, ``val/``, ``valannot/``, ``test/`` and ``testannot/``.
        split: ``train`` (367 images), ``val`` (101 images) or ``test`` (233 images).

    Raises:
        UserError: If a folder is missing or images and masks do not match.
    """
    pairing = pair_folders(root / split, root / f"{split}annot")
    return whole_pairing("camvid", split, pairing, packaged_table("camvid"))
