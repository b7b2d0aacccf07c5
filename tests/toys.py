"""Small pictures and trainings that take seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from scaleprotoseg.data.dataset import Sample, SegmentationDataset
from scaleprotoseg.data.labels import LabelTable

LABELS = LabelTable.from_json({"classes": ["ground", "disc", "bar"]})


def picture(index: int, width: int = 48, height: int = 40) -> Sample:
    """A bright disc and a dark bar on noise."""
    rng = np.random.default_rng(index)
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), np.uint8)
    mask[(y - rng.integers(10, 30)) ** 2 + (x - rng.integers(10, 38)) ** 2 < 64] = 1
    mask[:, (left := rng.integers(0, 40)) : left + 6] = 2
    image = rng.integers(90, 140, (height, width, 3)) + np.array([0, 90, -80])[mask][..., None]
    mask[:2] = 255
    return Sample(f"toy-{index}", Image.fromarray(image.clip(0, 255).astype(np.uint8)), mask)


class Toys(SegmentationDataset):
    """The first ``count`` pictures."""

    def __init__(self, count: int = 6, first: int = 0) -> None:
        self.name, self.split, self.labels = "toys", "train", LABELS
        self.indices = range(first, first + count)

    @property
    def sample_names(self) -> list[str]:
        return [f"toy-{index}" for index in self.indices]

    def __getitem__(self, index: int) -> Sample:
        return picture(self.indices[index])


def write_folder(folder: Path, count: int = 8) -> Path:
    """The pictures as a person's own folder, with the last two as validation."""
    for part in ("images", "masks", "splits"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        sample = picture(index)
        sample.image.save(folder / "images" / f"{sample.name}.png")
        Image.fromarray(sample.mask).save(folder / "masks" / f"{sample.name}.png")
    (folder / "splits" / "train.txt").write_text("".join(f"toy-{index}\n" for index in range(count - 2)))
    (folder / "splits" / "val.txt").write_text("".join(f"toy-{index}\n" for index in range(count - 2, count)))
    (folder / "classes.yaml").write_text(yaml.safe_dump(LABELS.to_json()))
    return folder


def recipe_values(**changes: Any) -> dict[str, Any]:
    """All kinds of phases, a few steps each."""
    return {
        "method": "scaleprotoseg",
        "data": {"name": "toys", "crop": [32, 40], "scale": [0.8, 1.2], "batch_size": 2, "accumulate": 1},
        "network": {
            "encoder": {"name": "resnet10t", "stage": 2},
            "pyramid": {"dilations": [1, 2], "channels": 8},
            "head": {"prototypes": 2},
        },
        "phases": {
            "joint": {
                "steps": 20,
                "learning_rates": {"encoder": 0.001, "pyramid": 0.001, "prototypes": 0.01},
                "decay": "poly",
                "diversity": 0.25,
                "encoder_norm": "free",
            },
            "projection": {"do": "project"},
            "fine-tune": {"steps": 4, "learning_rates": {"classifier": 0.001}, "foreign_l1": 0.0001},
            "grouping": {"do": "group", "groups": 2},
            "groups": {
                "steps": 20,
                "learning_rates": {"groups": 0.01, "classifier": 0.01},
                "group_entropy": 0.05,
                "foreign_l1": 0.0001,
            },
            "pruning": {"do": "prune"},
        },
        **changes,
    }
