from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scaleprotoseg.data.check import examine
from scaleprotoseg.data.cityscapes import cityscapes
from scaleprotoseg.data.files import AbsentSplitError
from scaleprotoseg.data.labels import VOID, packaged_table
from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.errors import UserError
from tests.builders.real import present

LABEL_IDS = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}


@pytest.fixture(scope="module")
def root(real_data: Path) -> Path:
    return present(real_data / "layout-samples" / "cityscapes")


def add(root: Path, split: str, name: str, label: int | None = 26, parts: np.ndarray | None = None) -> None:
    """Add an artificial frame of 4 x 3 pixels in the city of ulm, with all files that belong to it."""
    places = {"leftImg8bit": f"{name}_leftImg8bit.png"}
    if label is not None:
        kinds = ("labelIds", "instanceIds", "color")
        places |= {f"gtFine/{kind}": f"{name}_gtFine_{kind}.png" for kind in kinds}
    for place, file in places.items():
        folder = root / place.split("/")[0] / split / "ulm"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 3), label or 0).save(folder / file)
    if parts is not None:
        folder = root / "gtFinePanopticParts" / split / "ulm"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(parts.astype(np.int32)).save(folder / f"{name}_gtFinePanopticParts.tif")


def test_the_classes_of_the_benchmark() -> None:
    table = packaged_table("cityscapes")
    assert dict(zip(table.names, table.raw_ids, strict=True)) == {name: (raw,) for name, raw in LABEL_IDS.items()}
    assert table.names == tuple(LABEL_IDS)
    assert table.void_ids == (set(range(34)) - set(LABEL_IDS.values())) | {255}
    assert table.colors[table.names.index("road")] == (128, 64, 128)
    assert table.colors[table.names.index("bicycle")] == (119, 11, 32)


def test_class_histograms_equal_those_of_the_raw_files(root: Path) -> None:
    data = open_dataset("cityscapes", "train", root)
    assert data.sample_names == ["aachen/aachen_000000_000019", "aachen/aachen_000001_000019"]
    assert data.parts is None
    for sample in data:
        assert sample.image.size == (2048, 1024)
        raw = np.array(Image.open(root / "gtFine" / "train" / f"{sample.name}_gtFine_labelIds.png"))
        assert sample.mask is not None
        for train, label in enumerate(LABEL_IDS.values()):
            assert (sample.mask == train).sum() == (raw == label).sum()
        assert (sample.mask == VOID).sum() == (~np.isin(raw, list(LABEL_IDS.values()))).sum()


def test_the_check_reads_the_files_that_exist(root: Path) -> None:
    diagnosis = examine("cityscapes", None, root)
    assert [line.split(": is missing; unpack ")[0] for line in diagnosis.errors] == [f"{root}/leftImg8bit/val"]
    assert [(part.split, part.images, part.labelled) for part in diagnosis.splits] == [("train", 2, 2)]
    assert examine("cityscapes", "train", root).errors == ()


def test_masks_of_the_test_split_are_ignored(tmp_path: Path) -> None:
    add(tmp_path, "test", "ulm_1", label=0)
    (sample,) = cityscapes(tmp_path, "test")
    assert (sample.name, sample.mask) == ("ulm/ulm_1", None)
    diagnosis = examine("cityscapes", "test", tmp_path)
    assert (diagnosis.errors, diagnosis.splits[0].labelled) == ((), 0)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        AbsentSplitError, match=r"leftImg8bit/val: is missing; unpack leftImg8bit_trainvaltest\.zip from"
    ):
        cityscapes(tmp_path, "val")
    add(tmp_path, "val", "ulm_1", label=None)
    with pytest.raises(AbsentSplitError, match=r"gtFine/val: is missing; unpack gtFine_trainvaltest\.zip from"):
        cityscapes(tmp_path, "val")
    add(tmp_path, "val", "ulm_2")
    mask = tmp_path / "gtFine" / "val" / "ulm" / "ulm_1_gtFine_labelIds.png"
    with pytest.raises(UserError, match=rf"ulm_1_leftImg8bit\.png: has no mask; add {mask} or remove the image"):
        cityscapes(tmp_path, "val")
    image = tmp_path / "leftImg8bit" / "val" / "ulm" / "ulm_1_leftImg8bit.png"
    image.rename(image.with_name("elsewhere.png"))
    Image.new("L", (4, 3)).save(mask)
    with pytest.raises(UserError, match=rf"{mask}: is a mask without an image; add {image} or remove"):
        cityscapes(tmp_path, "val")


PARTS = np.array([[0, 7, 26, 26000], [2600000, 2601002, 2401004, 2401005], [2700105, 3300001, 2500001, 29001]])
EXPECTED = [
    [None, None, None, None],
    [None, ("car", "wheels"), ("person", "legs"), None],
    [("truck", "chassis"), None, ("rider", "torso"), None],
]


def test_parts_of_an_image(tmp_path: Path) -> None:
    add(tmp_path, "train", "ulm_1", parts=PARTS)
    add(tmp_path, "train", "ulm_2")
    add(tmp_path, "val", "ulm_3")
    add(tmp_path, "test", "ulm_4", label=0)
    given = tmp_path / "gtFinePanopticParts"
    data = open_dataset("cityscapes", "train", tmp_path, given)
    with_parts, without = pickle.loads(pickle.dumps(data))
    assert data.parts is not None
    meaning = [None, *zip(data.parts.classes, data.parts.names, strict=True)]
    assert len(meaning) == 1 + 23
    assert with_parts.parts is not None
    assert with_parts.parts.dtype == np.uint8
    assert [[meaning[part] for part in row] for row in with_parts.parts] == EXPECTED
    assert without.parts is None
    # Part masks are not read unless the user asks for them.
    assert open_dataset("cityscapes", "train", tmp_path).parts is None
    assert open_dataset("cityscapes", "test", tmp_path, given).parts is None


def test_parts_in_another_folder(tmp_path: Path) -> None:
    add(tmp_path / "a", "train", "ulm_1")
    add(tmp_path / "b", "train", "ulm_1", parts=PARTS)
    given = tmp_path / "b" / "gtFinePanopticParts"
    (sample,) = open_dataset("cityscapes", "train", tmp_path / "a", parts=given)
    assert sample.parts is not None
    says = r"/b/train: is missing; give the folder gtFinePanopticParts of gtFinePanopticParts_trainval\.zip from"
    with pytest.raises(UserError, match=says):
        open_dataset("cityscapes", "train", tmp_path / "a", parts=tmp_path / "b")
    for file in (given / "train" / "ulm").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"train: holds no \*_gtFinePanopticParts\.tif; give the folder"):
        open_dataset("cityscapes", "train", tmp_path / "a", parts=given)


def test_parts_of_another_size(tmp_path: Path) -> None:
    add(tmp_path, "train", "ulm_1", parts=PARTS[:2])
    given = tmp_path / "gtFinePanopticParts"
    (error,) = examine("cityscapes", "train", tmp_path, given).errors
    assert "ulm_1_gtFinePanopticParts.tif: is 4x2 but its image is 4x3; part masks must match" in error
    with pytest.raises(UserError, match="is 4x2 but its image is 4x3"):
        cityscapes(tmp_path, "train", given)[0]
