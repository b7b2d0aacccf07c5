from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scaleprotoseg.data.check import examine
from scaleprotoseg.data.files import AbsentSplitError
from scaleprotoseg.data.labels import VOID, packaged_table
from scaleprotoseg.data.registry import data_splits, open_dataset
from scaleprotoseg.errors import UserError
from tests.builders.real import present


@pytest.fixture(scope="module")
def root(real_data: Path) -> Path:
    return present(real_data / "layout-samples" / "ADEChallengeData2016")


def test_classes_are_the_official_objects(root: Path) -> None:
    table = packaged_table("ade20k")
    assert table.raw_ids == tuple((value,) for value in range(1, 151))
    assert table.void_ids == {0}
    with (root / "objectInfo150.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name, row in zip(table.names, rows, strict=True):
        # This copy of the list also has ";" in place of the spaces within names.
        assert f"{row['Name']};".startswith(f"{name.replace(' ', ';')};")


def test_class_histograms_equal_those_of_the_raw_files(root: Path) -> None:
    data = open_dataset("ade20k", "val", root)
    assert data.sample_names == ["ADE_val_00000001", "ADE_val_00000002", "ADE_val_00000003"]
    for sample in data:
        raw = Image.open(root / "annotations" / "validation" / f"{sample.name}.png")
        assert sample.image.size == raw.size
        counts = np.bincount(np.array(raw).ravel(), minlength=151)
        assert sample.mask is not None
        got = np.bincount(sample.mask.ravel(), minlength=256)
        assert got[:150].tolist() == counts[1:].tolist()
        assert got[VOID] == counts[0]


def test_a_missing_split(root: Path) -> None:
    says = r"ADEChallengeData2016/images/training: is missing; unpack ADEChallengeData2016\.zip from the ADE20K Scene"
    with pytest.raises(AbsentSplitError, match=says):
        open_dataset("ade20k", "train", root)
    diagnosis = examine("ade20k", None, root)
    assert len(diagnosis.errors) == 1
    assert [(part.split, part.images, part.labelled) for part in diagnosis.splits] == [("val", 3, 3)]
    assert examine("ade20k", "val", root).errors == ()


def test_faults_in_the_layout(tmp_path: Path) -> None:
    assert data_splits("ade20k") == ("train", "val")
    (tmp_path / "images" / "training").mkdir(parents=True)
    with pytest.raises(AbsentSplitError, match="annotations/training: is missing"):
        open_dataset("ade20k", "train", tmp_path)
    (tmp_path / "annotations" / "training").mkdir(parents=True)
    for name in "ab":
        Image.new("RGB", (4, 3)).save(tmp_path / "images" / "training" / f"{name}.jpg")
    Image.new("L", (4, 3), 151).save(tmp_path / "annotations" / "training" / "a.png")
    with pytest.raises(UserError, match=r"b\.jpg: has no mask; add .*annotations/training/b\.png"):
        open_dataset("ade20k", "train", tmp_path)
    (tmp_path / "images" / "training" / "b.jpg").unlink()
    with pytest.raises(UserError, match=r"a\.png: mask values not in the label table: 151 \(12 px\)"):
        open_dataset("ade20k", "train", tmp_path)[0]
