"""ADE20K in the version of the scene parsing benchmark, with 150 classes."""

from __future__ import annotations

from pathlib import Path

from scaleprotoseg.data.files import PairedFiles, pair_folders, require, whole_pairing
from scaleprotoseg.data.labels import packaged_table

_FOLDERS = {"train": "training", "val": "validation"}


def ade20k(root: Path, split: str) -> PairedFiles:
    """Open one split of ADE20K SceneParse150.

    Args:
        root: Folder ``ADEChallengeData2016``, which holds ``images/`` and ``annotations/``.
        split: ``train`` (20210 images) or ``val`` (2000 images).

    Raises:
        UserError: If a folder is missing or images and masks do not match.
    """
    images, masks = (
        require(
            root / kind / _FOLDERS[split],
            "unpack ADEChallengeData2016.zip from the ADE20K Scene Parsing page and give its folder as the root",
        )
        for kind in ("images", "annotations")
    )
    return whole_pairing("ade20k", split, pair_folders(images, masks), packaged_table("ade20k"))
