from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scaleprotoseg.data.check import examine
from scaleprotoseg.data.files import AbsentSplitError
from scaleprotoseg.data.labels import VOID, pack_colors, packaged_table
from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.data.voc2012 import AUGMENTED_LISTS, voc2012
from scaleprotoseg.errors import UserError
from tests.builders.real import present


def official_color(value: int) -> tuple[int, ...]:
    """Return an entry of the color map of the VOC development kit: each channel has every third bit, in reverse."""
    bits = f"{value:08b}"
    channels = [[bits[7 - at] for at in (channel, channel + 3, channel + 6) if at < 8] for channel in range(3)]
    return tuple(int("".join(channel).ljust(8, "0"), 2) for channel in channels)


@pytest.fixture(scope="module")
def root(real_data: Path) -> Path:
    return present(real_data / "voc2012-subset" / "VOCdevkit" / "VOC2012")


def layout(root: Path, lists: dict[str, str], masks: dict[str, str]) -> Path:
    """Write an artificial VOC2012 folder.

    Args:
        root: Folder to write to.
        lists: Text of each list, by path.
        masks: Letters of the images that have a mask, by mask folder; the mask value is the position in the alphabet.
    """
    for place, text in lists.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)
    (root / "JPEGImages").mkdir(parents=True)
    for name in "abcd":
        Image.new("RGB", (4, 3), (ord(name), 0, 0)).save(root / "JPEGImages" / f"{name}.jpg")
    for folder, names in masks.items():
        (root / folder).mkdir()
        for name in names:
            Image.new("L", (4, 3), ord(name) - ord("a")).save(root / folder / f"{name}.png")
    return root


def values(root: Path, split: str) -> dict[str, list[int]]:
    return {sample.name: np.unique(sample.mask).tolist() for sample in voc2012(root, split)}


def test_classes_have_their_official_colors() -> None:
    table = packaged_table("voc2012")
    assert table.names[0] == "background"
    assert table.names[11] == "diningtable"
    assert table.names[20] == "tvmonitor"
    assert list(table.colors) == [official_color(value) for value in range(21)]
    assert list(table.void_colors) == [official_color(255)]
    painted = np.array([[official_color(15), official_color(255)]], dtype=np.uint8)
    assert table.to_train_ids(pack_colors(painted)).tolist() == [[15, VOID]]


@pytest.mark.parametrize(("split", "count"), [("train", 220), ("val", 218)])
def test_masks_equal_their_files(root: Path, split: str, count: int) -> None:
    data = open_dataset("voc2012", split, root)
    listed = (root / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()
    assert len(data) == count
    assert data.sample_names == listed
    for sample, name in zip(data, listed, strict=True):
        raw = Image.open(root / "SegmentationClass" / f"{name}.png")
        assert sample.image.size == raw.size == Image.open(root / "JPEGImages" / f"{name}.jpg").size
        assert sample.mask is not None
        assert np.bincount(sample.mask.ravel()).tolist() == np.bincount(np.array(raw).ravel()).tolist()
        assert sample.parts is sample.keypoints is None


def test_the_check_ignores_splits_that_are_downloaded_separately(root: Path) -> None:
    diagnosis = examine("voc2012", None, root)
    assert diagnosis.errors == ()
    assert [(part.split, part.images, part.labelled) for part in diagnosis.splits] == [
        ("train", 220, 220),
        ("val", 218, 218),
    ]
    (error,) = examine("voc2012", "test", root).errors
    assert error.startswith(f"{root}/ImageSets/Segmentation/test.txt: is missing; unpack VOC2012test.tar")


@pytest.mark.parametrize("place", AUGMENTED_LISTS)
@pytest.mark.parametrize(
    "text",
    ["c\na\n\n", "/JPEGImages/c.jpg /SegmentationClassAug/c.png\n/JPEGImages/a.jpg /SegmentationClassAug/a.png\n"],
)
def test_the_augmented_training_set(tmp_path: Path, place: str, text: str) -> None:
    layout(tmp_path, {place: text}, {"SegmentationClassAug": "abc"})
    data = voc2012(tmp_path, "train_aug")
    assert (data.split, data.sample_names) == ("train_aug", ["c", "a"])
    assert values(tmp_path, "train_aug") == {"c": [2], "a": [0]}


def test_missing_files_of_the_augmented_training_set(tmp_path: Path) -> None:
    layout(tmp_path, {}, {})
    download = r": is missing; get SegmentationClassAug\.zip and the list train_aug\.txt .* kazuto1011/deeplab-pytorch"
    with pytest.raises(AbsentSplitError, match=r"ImageSets/SegmentationAug/train_aug\.txt" + download):
        voc2012(tmp_path, "train_aug")
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "train_aug.txt").write_text("a\n")
    with pytest.raises(AbsentSplitError, match="SegmentationClassAug" + download):
        voc2012(tmp_path, "train_aug")


def test_test_images_have_no_labels(tmp_path: Path) -> None:
    layout(tmp_path, {"ImageSets/Segmentation/test.txt": "b\nd\n"}, {"SegmentationClass": "a"})
    data = voc2012(tmp_path, "test")
    assert data.sample_names == ["b", "d"]
    assert all(sample.mask is None for sample in data)
    diagnosis = examine("voc2012", "test", tmp_path)
    assert diagnosis.errors == ()
    assert (diagnosis.splits[0].images, diagnosis.splits[0].labelled) == (2, 0)


def test_images_of_train_are_no_leak_in_train_aug(tmp_path: Path) -> None:
    lists = {f"ImageSets/Segmentation/{split}.txt": names for split, names in (("train", "a"), ("val", "b"))}
    layout(
        tmp_path, lists | {"list/train_aug.txt": "a\nc\nb"}, {"SegmentationClass": "ab", "SegmentationClassAug": "abc"}
    )
    diagnosis = examine("voc2012", None, tmp_path)
    assert [part.split for part in diagnosis.splits] == ["train", "val", "train_aug"]
    assert [line for line in diagnosis.warnings if "keep it in one split" in line] == [
        f"{tmp_path}/JPEGImages/b.jpg: is in val and also in train; keep it in one split"
    ]


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(AbsentSplitError, match=r"Segmentation/train\.txt: is missing; unpack VOCtrainval_11-May-2012"):
        voc2012(tmp_path, "train")
    layout(tmp_path, {"ImageSets/Segmentation/train.txt": "a\nb\nzebra\n"}, {})
    with pytest.raises(AbsentSplitError, match=r"SegmentationClass: is missing; unpack VOCtrainval_11-May-2012"):
        voc2012(tmp_path, "train")
    (tmp_path / "SegmentationClass").mkdir()
    Image.new("L", (4, 3)).save(tmp_path / "SegmentationClass" / "a.png")
    diagnosis = examine("voc2012", "train", tmp_path)
    assert diagnosis.splits[0].images == 1
    assert [line.split("; ")[0] for line in diagnosis.errors] == [
        f"{tmp_path}/JPEGImages/zebra.jpg: is missing but listed in {tmp_path}/ImageSets/Segmentation/train.txt",
        f"{tmp_path}/JPEGImages/b.jpg: has no mask",
    ]
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"train\.txt: cannot be read as UTF-8 text"):
        voc2012(tmp_path, "train")
