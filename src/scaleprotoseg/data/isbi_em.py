"""ISBI 2012: 30 electron microscopy slices of neural tissue, in two multi-page TIFF files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from scaleprotoseg.data.dataset import Sample, SegmentationDataset
from scaleprotoseg.data.labels import packaged_table
from scaleprotoseg.errors import UserError

IMAGES, LABELS = "train-volume.tif", "train-labels.tif"
SEED, VALIDATION = 42, 10
"""The published split: ten slices, drawn by NumPy's legacy generator with this seed, are used for validation."""


class IsbiEm(SegmentationDataset):
    """One split of the labeled stack.

    Args:
        root: Folder that holds ``train-volume.tif`` and ``train-labels.tif``.
        split: ``train`` (20 of the 30 slices) or ``val`` (10 slices).

    Raises:
        UserError: If a file is missing or unreadable, or the files differ in the number of slices.
    """

    def __init__(self, root: Path, split: str) -> None:
        self.name = "isbi_em"
        self.split = split
        self.labels = packaged_table("isbi_em")
        self._images, self._masks = root / IMAGES, root / LABELS
        slices, labeled = (_pages(path) for path in (self._images, self._masks))
        if slices != labeled:
            raise UserError(f"{self._masks}: has {labeled} slices but {IMAGES} has {slices}; download both again")
        if slices <= VALIDATION:
            raise UserError(f"{self._images}: has {slices} slices, not the 30 of the challenge; download it again")
        validation = np.random.RandomState(SEED).choice(slices, VALIDATION, replace=False)
        drawn = np.isin(np.arange(slices), validation)
        self.slices: list[int] = np.flatnonzero(drawn if split == "val" else ~drawn).tolist()

    @property
    def sample_names(self) -> list[str]:
        """Names ``slice-NN`` of the slices of this split, with NN from 00 to 29."""
        return [f"slice-{index:02d}" for index in self.slices]

    def __getitem__(self, index: int) -> Sample:
        """Read one slice and its labels.

        Raises:
            UserError: If a slice is damaged, image and mask differ in size, or the mask holds unknown values.
        """
        image, raw = (_page(path, self.slices[index]) for path in (self._images, self._masks))
        if image.size != raw.size:
            raise UserError(f"{self._masks}: has slices of another size than {IMAGES}; download both again")
        try:
            mask = self.labels.to_train_ids(np.asarray(raw.convert("L")))
        except UserError as error:
            raise UserError(f"{self._masks}, slice {self.slices[index]}: {error}") from error
        return Sample(self.sample_names[index], image.convert("RGB"), mask)


def _pages(path: Path) -> int:
    """Return the number of slices in a file."""
    try:
        with Image.open(path) as stack:
            return int(getattr(stack, "n_frames", 1))
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file; put {IMAGES} and {LABELS} of the ISBI 2012 EM segmentation challenge's "
            "training data there"
        ) from error
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"{path}: not a readable TIFF stack ({error}); download it again") from error


def _page(path: Path, index: int) -> Image.Image:
    try:
        with Image.open(path) as stack:
            stack.seek(index)
            return stack.copy()
    except Exception as error:  # A damaged file can make Pillow's decoders raise nearly any type.
        raise UserError(f"{path}: slice {index} cannot be read ({error}); download the file again") from error
