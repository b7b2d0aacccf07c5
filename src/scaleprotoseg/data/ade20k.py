"""ADE20K in the form of the scene parsing benchmark, with 150 classes."""

from __future__ import annotations

from pathlib import Path

from scaleprotoseg.data.files import PairedFiles, pair_folders, require, whole_pairing
from scaleprotoseg.data.labels import packaged_table

_FOLDERS = {"train": "training", "val": "validation"}


def ade20k(root: Path, split: str) -> PairedFiles:
    """Opens one split of ADE20K SceneParse150.

    Args:
        root: The folder ``ADEChallengeData2016``, with ``images/`` and ``annotations/``.
        split: ``train`` (20210 pictures) or ``val`` (2000).

    Raises:
        UserError: If a folder is missing or pictures and masks do not match.
    """
    images, masks = (
        require(
            root / kind / _FOLDERS[split],
            "unpack ADEChallengeData2016.zip from the ADE20K Scene Parsing page and name its folder as the root",
        )
        for kind in ("images", "annotations")
    )
    return whole_pairing("ade20k", split, pair_folders(images, masks), packaged_table("ade20k"))
