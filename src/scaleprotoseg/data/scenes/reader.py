"""Data set of synthetic scenes, cached on disk after the first use."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from scaleprotoseg.data.dataset import Sample, SegmentationDataset
from scaleprotoseg.data.labels import packaged_table
from scaleprotoseg.data.masks import palette_png
from scaleprotoseg.data.scenes.canvas import PARTS, class_mask, part_mask
from scaleprotoseg.data.scenes.world import draw_scene
from scaleprotoseg.errors import UserError

VERSION = 2
"""Version of the drawing; increased whenever the drawing changes, so that no outdated cache is read."""

SIZES = {"train": 480, "val": 120, "test": 120}
"""Number of images per split."""

SEED = 0
"""Seed of the standard data set."""

_STAMP = f"scenes-{VERSION}-seed{SEED}"
"""Name of the default cache folder, and of the empty file that identifies the version of a cached split."""


def draw(split: str, index: int, seed: int = SEED) -> Sample:
    """Draw one sample, which depends only on the arguments.

    Args:
        split: ``train``, ``val`` or ``test``.
        index: Index within the split.
        seed: Seed of the data set.
    """
    rng = np.random.default_rng([seed, list(SIZES).index(split), index])
    image, surfaces = draw_scene(rng)
    return Sample(f"{split}-{index:04d}", image, class_mask(surfaces), part_mask(surfaces))


class Scenes(SegmentationDataset):
    """Synthetic street scenes of 128 x 96 pixels with eight classes and exact part masks.

    Args:
        folder: Folder with the ``images``, ``masks`` and ``parts`` of one split, see :func:`scenes`.
        split: ``train``, ``val`` or ``test``.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.name = "scenes"
        self.split = split
        self.labels = packaged_table("scenes")
        self.parts = PARTS
        self._folder = folder
        self._names = [f"{split}-{index:04d}" for index in range(SIZES[split])]

    @property
    def sample_names(self) -> list[str]:
        """Names of all samples: ``train-0000``, ``train-0001``, ..."""
        return self._names

    def __getitem__(self, index: int) -> Sample:
        """Read one sample.

        Raises:
            UserError: If one of its files is missing or damaged.
        """
        name = self._names[index]
        stem = f"{name.removeprefix(self.split + '-')}.png"
        image, mask, parts = (self._read(kind, stem) for kind in ("images", "masks", "parts"))
        return Sample(name, image, np.array(mask), np.array(parts))

    def _read(self, kind: str, stem: str) -> Image.Image:
        path = self._folder / kind / stem
        try:
            with Image.open(path) as image:
                image.load()
                return image
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read; delete {self._folder} so that the scenes are generated again"
            ) from error


def scenes(root: Path | None, split: str) -> Scenes:
    """Return one split of the synthetic street scenes, which is generated on first use and then read from disk.

    Args:
        root: Folder that caches the scenes; None selects a folder in the user's cache.
        split: ``train`` (480 images), ``val`` (120) or ``test`` (120).

    Raises:
        UserError: If the split does not exist, the folder cannot be written, or it contains anything but the scenes of
            this version.
    """
    if split not in SIZES:
        raise UserError(f"scenes: has no split {split!r}; choose one of {', '.join(SIZES)}")
    root = root or _cache()
    folder = root / split
    try:
        if not folder.is_dir():
            _draw_split(folder, split)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"{root}: the scenes cannot be written to this folder ({reason}); choose a writable folder"
        ) from error
    if not (folder / _STAMP).is_file():
        raise UserError(
            f"{folder}: does not contain the scenes of this version; delete the folder or choose another root"
        )
    return Scenes(folder, split)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    parent = Path(base) if base else Path.home() / ".cache"
    return parent / "scaleprotoseg" / _STAMP


def _draw_split(folder: Path, split: str) -> None:
    """Draw a split into a temporary folder and rename it, so that an interruption leaves no incomplete split."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{split}-", dir=folder.parent) as scratch:
        drawn = Path(scratch) / split
        for kind in ("images", "masks", "parts"):
            (drawn / kind).mkdir(parents=True)
        (drawn / _STAMP).touch()
        palette = packaged_table("scenes").palette()
        for index in range(SIZES[split]):
            sample = draw(split, index)
            assert sample.mask is not None and sample.parts is not None
            stem = f"{index:04d}.png"
            sample.image.save(drawn / "images" / stem)
            (drawn / "masks" / stem).write_bytes(palette_png(sample.mask, palette))
            Image.fromarray(sample.parts).save(drawn / "parts" / stem)
        try:
            drawn.rename(folder)
        except OSError:
            # Another process finished first, with the same result.
            if not folder.is_dir():
                raise
