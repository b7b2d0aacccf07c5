"""The drawn scenes as a data set, kept on disk once drawn."""

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
"""Raised whenever the drawing changes, so that no old cache is read."""

SIZES = {"train": 480, "val": 120, "test": 120}
"""Images per split."""

SEED = 0
"""Seed of the data set that everyone shares."""

_STAMP = f"scenes-{VERSION}-seed{SEED}"
"""Name of the default folder, and of the empty file by which a split is known to be of this version."""


def draw(split: str, index: int, seed: int = SEED) -> Sample:
    """Draws one sample, which depends on nothing but the arguments.

    Args:
        split: ``train``, ``val`` or ``test``.
        index: Position within the split.
        seed: Another seed is another data set.
    """
    rng = np.random.default_rng([seed, list(SIZES).index(split), index])
    image, surfaces = draw_scene(rng)
    return Sample(f"{split}-{index:04d}", image, class_mask(surfaces), part_mask(surfaces))


class Scenes(SegmentationDataset):
    """Drawn street scenes: 128 x 96 pixels, eight classes, exact parts.

    Args:
        folder: Holds ``images``, ``masks`` and ``parts`` of one split, see :func:`scenes`.
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
        """``train-0000``, ``train-0001``, ..."""
        return self._names

    def __getitem__(self, index: int) -> Sample:
        """Reads one sample.

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
            raise UserError(f"{path}: cannot be read; delete {self._folder} to have the scenes drawn anew") from error


def scenes(root: Path | None, split: str) -> Scenes:
    """The drawn street scenes, drawn on first use and then read from disk.

    Args:
        root: Folder to keep them in; by default a folder of the user's cache.
        split: ``train`` (480 images), ``val`` (120) or ``test`` (120).

    Raises:
        UserError: If there is no such split, or the folder cannot be written.
    """
    if split not in SIZES:
        raise UserError(f"scenes has no split {split!r}; choose one of {', '.join(SIZES)}")
    root = root or _cache()
    folder = root / split
    try:
        if not folder.is_dir():
            _draw_split(folder, split)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{root}: the scenes cannot be written there ({reason}); name a writable folder") from error
    if not (folder / _STAMP).is_file():
        raise UserError(f"{folder}: not the scenes of this version; delete the folder or name another root")
    return Scenes(folder, split)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    parent = Path(base) if base else Path.home() / ".cache"
    return parent / "scaleprotoseg" / _STAMP


def _draw_split(folder: Path, split: str) -> None:
    """Draws beside the final place and renames: an interrupted run leaves no half-drawn split."""
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
            # Someone else finished first: the result is the same.
            if not folder.is_dir():
                raise
