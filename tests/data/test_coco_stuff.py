from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scaleprotoseg.data.check import examine
from scaleprotoseg.data.coco_stuff import coco_stuff
from scaleprotoseg.data.files import AbsentSplitError
from scaleprotoseg.data.labels import packaged_table
from scaleprotoseg.data.registry import open_dataset
from tests.builders.real import present

OFFICIAL = {0: "person", 11: "street sign", 25: "hat", 90: "hair brush", 91: "banner", 148: "road", 181: "wood"}
"""Some lines of the official labels.txt, whose ids are the mask values + 1."""


@pytest.fixture(scope="module")
def root(real_data: Path) -> Path:
    return present(real_data / "layout-samples" / "cocostuff")


def test_train_ids_are_the_official_ids() -> None:
    table = packaged_table("coco_stuff")
    assert len(table) == 182
    assert table.raw_ids == tuple((value,) for value in range(182))
    assert table.void_ids == {255}
    assert {value: table.names[value] for value in OFFICIAL} == OFFICIAL


@pytest.mark.parametrize(("split", "count"), [("train", 13), ("val", 8)])
def test_masks_equal_their_files(root: Path, split: str, count: int) -> None:
    data = open_dataset("coco_stuff", split, root)
    assert len(data) == count
    assert data.sample_names == sorted(path.stem for path in (root / "images" / f"{split}2017").iterdir())
    for sample in data:
        raw = Image.open(root / "stuffthingmaps_trainval2017" / f"{split}2017" / f"{sample.name}.png")
        assert sample.image.size == raw.size
        assert sample.mask is not None
        assert Counter(sample.mask.tobytes()) == Counter(raw.tobytes())


def test_the_check_finds_no_faults_in_the_samples(root: Path) -> None:
    diagnosis = examine("coco_stuff", None, root)
    assert diagnosis.errors == ()
    assert [(part.split, part.images, part.labelled) for part in diagnosis.splits] == [("train", 13, 13), ("val", 8, 8)]


@pytest.mark.parametrize("place", ["stuffthingmaps_trainval2017", "annotations", "."])
def test_masks_lie_in_one_of_three_places(tmp_path: Path, place: str) -> None:
    images, masks = tmp_path / "images" / "val2017", tmp_path / place / "val2017"
    images.mkdir(parents=True)
    with pytest.raises(
        AbsentSplitError, match=r"stuffthingmaps_trainval2017/val2017: is missing; unpack stuffthingmaps"
    ):
        coco_stuff(tmp_path, "val")
    masks.mkdir(parents=True)
    Image.new("L", (4, 3)).save(images / "1.jpg")
    Image.new("L", (4, 3), 181).save(masks / "1.png")
    (sample,) = coco_stuff(tmp_path, "val")
    assert np.unique(sample.mask).tolist() == [181]
    with pytest.raises(
        AbsentSplitError, match=r"images/train2017: is missing; unpack train2017\.zip from the COCO down"
    ):
        coco_stuff(tmp_path, "train")
