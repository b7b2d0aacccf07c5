"""CamVid, driving scenes with 11 classes, in the layout of the SegNet release."""

from __future__ import annotations

from pathlib import Path

from scaleprotoseg.data.files import PairedFiles, pair_folders, whole_pairing
from scaleprotoseg.data.labels import packaged_table


def camvid(root: Path, split: str) -> PairedFiles:
    """Opens one split of CamVid.

    Args:
        root: The folder that holds ``train/``, ``trainannot/`` and so on.
        split: ``train`` (367 frames), ``val`` (101) or ``test`` (233).

    Raises:
        UserError: If a folder is missing or pictures and masks do not match.
    """
    pairing = pair_folders(root / split, root / f"{split}annot")
    return whole_pairing("camvid", split, pairing, packaged_table("camvid"))
