"""Small labeled images, with and without object parts, as data sets and as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from scaleprotoseg.data.dataset import PartTable, Sample, SegmentationDataset
from scaleprotoseg.data.labels import LabelTable

LABELS = LabelTable.from_json({"classes": ["ground", "disc", "bar"]})
PARTS = PartTable(names=("top", "bottom", "end"), classes=("disc", "disc", "bar"))


def toy_sample(index: int, width: int = 48, height: int = 40) -> Sample:
    """A bright disc and a dark bar on noise; the two upper rows are void."""
    rng = np.random.default_rng(index)
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), np.uint8)
    mask[(y - rng.integers(10, 30)) ** 2 + (x - rng.integers(10, 38)) ** 2 < 64] = 1
    mask[:, (left := rng.integers(0, 40)) : left + 6] = 2
    image = rng.integers(90, 140, (height, width, 3)) + np.array([0, 90, -80])[mask][..., None]
    mask[:2] = 255
    return Sample(f"toy-{index}", Image.fromarray(image.clip(0, 255).astype(np.uint8)), mask)


class Toys(SegmentationDataset):
    """``count`` toy samples, from number ``first`` on."""

    def __init__(self, count: int = 6, first: int = 0) -> None:
        self.name, self.split, self.labels = "toys", "train", LABELS
        self.indices = range(first, first + count)

    @property
    def sample_names(self) -> list[str]:
        return [f"toy-{index}" for index in self.indices]

    def __getitem__(self, index: int) -> Sample:
        return toy_sample(self.indices[index])


class WideToys(Toys):
    """Images that are large enough for some boxes around patches not to be clipped."""

    def __getitem__(self, index: int) -> Sample:
        return toy_sample(self.indices[index], width=160, height=120)


class PartToys(Toys):
    """Discs have a top and a bottom, bars have an end, ground has no parts; every third image has no part mask."""

    parts = PARTS

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        if index % 3 == 2:
            return sample
        y = np.arange(len(sample.mask))[:, None]
        rows = np.nonzero((sample.mask == 1).any(axis=1))[0]
        middle = rows.mean() if len(rows) else 0
        parts = np.select(
            [(sample.mask == 1) & (y < middle), sample.mask == 1, (sample.mask == 2) & (y < 16)], [1, 2, 3]
        )
        return replace(sample, parts=parts.astype(np.uint8))


class Chosen(SegmentationDataset):
    """Some images of another data set, in any order, possibly more than once."""

    def __init__(self, base: SegmentationDataset, indices: Sequence[int]) -> None:
        self.name, self.split, self.labels, self.parts = base.name, base.split, base.labels, base.parts
        self.base, self.indices = base, indices

    @property
    def sample_names(self) -> list[str]:
        return [self.base.sample_names[index] for index in self.indices]

    def __getitem__(self, index: int) -> Sample:
        return self.base[self.indices[index]]


class Given(SegmentationDataset):
    """A list of samples as a data set."""

    def __init__(self, samples: list[Sample], parts: PartTable | None = PARTS) -> None:
        self.name, self.split, self.labels, self.parts, self.samples = "given", "val", LABELS, parts, samples

    @property
    def sample_names(self) -> list[str]:
        return [sample.name for sample in self.samples]

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def sample_of(mask: np.ndarray, **changes: Any) -> Sample:
    """A black image with this mask."""
    return Sample("drawn", Image.new("RGB", mask.shape[::-1]), mask, **changes)


def write_folder(folder: Path, count: int = 8) -> Path:
    """Write toy samples as a custom folder; the last two are the validation split."""
    for name in ("images", "masks", "splits"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        sample = toy_sample(index)
        sample.image.save(folder / "images" / f"{sample.name}.png")
        Image.fromarray(sample.mask).save(folder / "masks" / f"{sample.name}.png")
    (folder / "splits" / "train.txt").write_text("".join(f"toy-{index}\n" for index in range(count - 2)))
    (folder / "splits" / "val.txt").write_text("".join(f"toy-{index}\n" for index in range(count - 2, count)))
    (folder / "classes.yaml").write_text(yaml.safe_dump(LABELS.to_json()))
    return folder
