from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scaleprotoseg.data.dataset import PartTable
from scaleprotoseg.data.labels import packaged_table
from scaleprotoseg.data.panoptic_parts import PanopticParts, decode_uids
from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.errors import UserError

sids = st.integers(1, 99)
iids = st.integers(0, 999)
pids = st.integers(0, 99)
ids = st.tuples(sids) | st.tuples(sids, iids) | st.tuples(sids, iids, pids)


def encode(levels: tuple[int, ...]) -> int:
    """Concatenate the digits: class, three for the instance, two for the part."""
    return int("".join(f"{level:0{width}d}" for level, width in zip(levels, (1, 3, 2), strict=False)))


@settings(deadline=None)
@given(st.lists(ids, min_size=1, max_size=20))
def test_decoding_inverts_encoding(pixels: list[tuple[int, ...]]) -> None:
    got = decode_uids(np.array([[encode(levels) for levels in pixels]], dtype=np.int32))
    expected = [(*levels, 0, 0)[:3] for levels in pixels]
    assert [tuple(map(int, levels)) for levels in zip(*(level[0] for level in got), strict=True)] == expected


@settings(deadline=None)
@given(st.integers(-(2**31), -1) | st.integers(100, 999) | st.integers(10_000_000, 2**31 - 1))
def test_other_numbers_are_refused(uid: int) -> None:
    with pytest.raises(UserError, match=rf"^holds {uid}, which is not a number of the Panoptic Parts format"):
        decode_uids(np.array([0, 26, uid]))


def test_small_numbers_may_have_8_bits() -> None:
    got = decode_uids(np.array([0, 7, 99], dtype=np.uint8))
    assert [level.tolist() for level in got] == [[0, 7, 99], [0, 0, 0], [0, 0, 0]]


def source(folder: Path, uids: list[list[int]]) -> PanopticParts:
    Image.fromarray(np.array(uids, dtype=np.int32)).save(folder / "a.tif", compression="tiff_lzw")
    return PanopticParts("parts/voc2012", packaged_table("voc2012"), {"a": folder / "a.tif"})


def shown(parts: PanopticParts, size: tuple[int, int]) -> list[list[str]]:
    """Return class and name of the part of every pixel of "a"."""
    mask = parts.read("a", size).mask
    assert mask is not None
    assert mask.dtype == np.uint8
    meaning = ["-", *(f"{c} {n}" for c, n in zip(parts.table.classes, parts.table.names, strict=True))]
    return [[meaning[part] for part in row] for row in mask]


def test_the_parts_of_pascal(tmp_path: Path) -> None:
    table = source(tmp_path, [[0]]).table
    assert len(table.names) == 52
    assert len(set(table.classes)) == 15
    assert set(table.classes) <= set(packaged_table("voc2012").names)
    parts = source(
        tmp_path,
        [
            [1500112, 1500110, 1500100, 15001],  # A neck, hair, and no part.
            [600120, 600129, 600130, 600159],  # Wheels, a headlight and a window of a bus.
            [2, 2001, 200100, 200101],  # The unlabeled rest of a bicycle, three times, and a wheel.
            [2000102, 20001, 4001, 2100101],  # Frame and rest of a monitor, a boat, and a class beyond the twenty.
        ],
    )
    assert shown(parts, (4, 4)) == [
        ["person torso", "person head", "-", "-"],
        ["bus wheel", "bus wheel", "bus body", "bus window"],
        ["bicycle body", "bicycle body", "bicycle body", "bicycle wheel"],
        ["tvmonitor frame", "-", "-", "-"],
    ]


def test_faulty_part_masks_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with pytest.raises(UserError, match=rf"^{path}: is 1x1 but its image is 2x1; part masks must match pixel by"):
        source(tmp_path, [[26]]).read("a", (2, 1))
    with pytest.raises(UserError, match=rf"^{path}: holds 123, which is not a number of the Panoptic Parts format"):
        source(tmp_path, [[26, 123]]).read("a", (2, 1))
    parts = source(tmp_path, [[26]])
    path.write_bytes(b"II*")
    with pytest.raises(UserError, match=rf"^{path}: not a readable image"):
        parts.read("a", (1, 1))
    assert parts.read("b", (1, 1)).mask is None


def test_part_names_differ_within_a_class() -> None:
    PartTable(names=("head", "head"), classes=("cat", "dog"))
    with pytest.raises(ValueError, match="two parts of the same name"):
        PartTable(names=("head", "head"), classes=("cat", "cat"))


def pascal(root: Path) -> Path:
    """Write a VOC2012 folder with two training images."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for name in "ab":
        Image.new("RGB", (2, 1)).save(root / "JPEGImages" / f"{name}.jpg")
        Image.new("L", (2, 1), 12).save(root / "SegmentationClass" / f"{name}.png")
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("a\nb\n")
    return root


def test_pascal_parts_may_be_in_either_folder(tmp_path: Path) -> None:
    root, parts = pascal(tmp_path / "VOC2012"), tmp_path / "parts"
    for half, name in (("training", "z"), ("validation", "b")):
        (parts / "labels" / half).mkdir(parents=True)
        uids = np.array([[12, 1200117]], dtype=np.int32)
        Image.fromarray(uids).save(parts / "labels" / half / f"{name}.tif")
    data = open_dataset("voc2012", "train", root, parts=parts)
    assert data.parts is not None
    tail = 1 + list(zip(data.parts.classes, data.parts.names, strict=True)).index(("dog", "tail"))
    first, second = data
    assert first.parts is None
    assert second.parts is not None
    assert second.parts.tolist() == [[0, tail]]
    with pytest.raises(
        UserError, match=r"labels/labels/training: is missing; give the folder of Pascal Panoptic Parts"
    ):
        open_dataset("voc2012", "train", root, parts=parts / "labels")


@pytest.mark.parametrize("name", ["scenes", "camvid", "ade20k", "coco_stuff", "."])
def test_data_sets_that_take_no_parts(name: str, tmp_path: Path) -> None:
    says = rf": takes no parts from {tmp_path}; leave it out \(only voc2012, cityscapes take parts\)"
    with pytest.raises(UserError, match=says):
        open_dataset(name, "train", tmp_path, parts=tmp_path)
