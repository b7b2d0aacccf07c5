from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from scaleprotoseg.data.check import Diagnosis, examine, render
from scaleprotoseg.data.dataset import Keypoint, PartTable, Sample, SegmentationDataset
from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.data.registry import READERS, Reader
from scaleprotoseg.errors import UserError
from tests.builders.real import present

TABLE = "classes: [road, car, bus]"


def add(root: Path, name: str, *values: int, size: tuple[int, int] = (70, 70), gray: int | None = None) -> None:
    """Add an image that differs from all others, and a mask filled with the values in turn."""
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    shade = sum(name.encode()) % 256 if gray is None else gray
    Image.new("L", size, shade).save(root / "images" / f"{name}.png")
    mask = np.resize(np.array(values, dtype=np.uint8), (70, 70))
    Image.fromarray(mask).save(root / "masks" / f"{name}.png")


def with_lists(root: Path, **lists: str) -> None:
    (root / "splits").mkdir(exist_ok=True)
    for split, names in lists.items():
        (root / "splits" / f"{split}.txt").write_text("\n".join(names.split()))


def shown(diagnosis: Diagnosis, limit: int = 100) -> str:
    console = Console(file=io.StringIO(), width=100)
    render(diagnosis, console, limit)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_folder_without_faults(tmp_path: Path) -> None:
    for name in "abcdefghij":
        add(tmp_path, name, 0, 1, 1, 255)
    diagnosis = examine(str(tmp_path))
    assert diagnosis.errors == ()
    assert diagnosis.warnings == ()
    train, val = diagnosis.splits
    assert (train.split, train.images, train.labelled, val.images) == ("train", 8, 8, 2)
    assert train.smallest == train.largest == (70, 70)
    assert train.void_share == pytest.approx(0.25)
    assert [(count.name, count.images) for count in train.classes] == [("class 0", 8), ("class 1", 8)]
    assert [count.share for count in train.classes] == pytest.approx([1 / 3, 2 / 3])
    assert train.classes[1].pixels == 8 * 70 * 70 // 2
    assert "0 errors, 0 warnings; ready for training" in shown(diagnosis)
    assert examine(tmp_path) == diagnosis


def test_all_faults_are_found_in_one_pass(tmp_path: Path) -> None:
    (tmp_path / "classes.yaml").write_text(TABLE)
    for name in ("good", "strange", "small", "cutimage", "cutmask", "lonely"):
        add(tmp_path, name, 0, 1, 2)
    add(tmp_path, "strange", 0, 7)
    Image.new("L", (30, 20)).save(tmp_path / "masks" / "small.png")
    for path in (tmp_path / "images" / "cutimage.png", tmp_path / "masks" / "cutmask.png"):
        path.write_bytes(path.read_bytes()[:60])
    (tmp_path / "masks" / "lonely.png").unlink()
    Image.new("L", (70, 70)).save(tmp_path / "masks" / "orphan.png")
    Image.new("L", (70, 70)).save(tmp_path / "images" / "good.bmp")
    diagnosis = examine(str(tmp_path))
    expected = [
        "has the same name as",
        "images/lonely.png: has no mask",
        "masks/orphan.png: is a mask without an image",
        "images/cutimage.png: not a readable image",
        "masks/cutmask.png: not a readable image",
        "images/small.png: is 70x70 but its mask",
        "masks/strange.png: mask values not in the label table: 7 (2450 px)",
    ]
    for part in expected:
        assert sum(part in line for line in diagnosis.errors) == 1, part
    assert len(diagnosis.errors) == len(expected)
    assert all("\n" not in line for line in diagnosis.errors)
    assert sum(summary.images for summary in diagnosis.splits) == 5
    assert "7 errors" in shown(diagnosis)
    assert "fix the errors" in shown(diagnosis)


def test_warnings(tmp_path: Path) -> None:
    (tmp_path / "classes.yaml").write_text(TABLE)
    for name in "abc":
        add(tmp_path, name, 0)
    add(tmp_path, "d", 0, 1)
    add(tmp_path, "void", 255)
    add(tmp_path, "copy", 0, gray=ord("a"))
    Image.new("L", (90, 40)).save(tmp_path / "images" / "tiny.png")
    Image.new("L", (90, 40)).save(tmp_path / "masks" / "tiny.png")
    with_lists(tmp_path, train="a b c d void", val="copy d tiny")
    diagnosis = examine(str(tmp_path))
    assert diagnosis.errors == ()
    images = tmp_path / "images"
    assert set(diagnosis.warnings) == {
        f"{images}/void.png: has no labeled pixel; label it or leave it out",
        f"{images}/tiny.png: is only 90x40 pixels; enlarge it or leave it out",
        "class 'car': occurs in only 1 of 5 train images; label more, or merge it with another class",
        "class 'bus': does not occur in train; label some of its pixels, or remove the class from the label table",
        f"{images}/a.png: is in train and identical to {images}/copy.png in val; keep it in one split",
        f"{images}/d.png: is in train and also in val; keep it in one split",
    }
    assert diagnosis.splits[1].smallest == (90, 40)
    assert "70x70" in shown(diagnosis)
    assert "90x40 to 70x70" in shown(diagnosis)


def test_a_single_split(tmp_path: Path) -> None:
    for name in "abc":
        add(tmp_path, name, 0, 1)
    with_lists(tmp_path, train="a", val="b nothing", test="")
    assert [summary.split for summary in examine(str(tmp_path), "train").splits] == ["train"]
    assert examine(str(tmp_path), "train").errors == ()
    everything = examine(str(tmp_path))
    assert len(everything.errors) == 2
    assert any("val.txt, line 2" in line for line in everything.errors)
    assert any("split test has no images" in line for line in everything.errors)
    assert "no split 'train_aug'" in examine(str(tmp_path), "train_aug").errors[0]


def test_progress_counts_every_image(tmp_path: Path) -> None:
    for name in "abcde":
        add(tmp_path, name, 0, 1)
    seen: list[int] = []

    def progress(indices: Iterable[int]) -> Iterator[int]:
        for index in indices:
            seen.append(index)
            yield index

    examine(str(tmp_path), progress=progress)
    assert seen == list(range(5))


def test_a_missing_validation_split_is_an_error(tmp_path: Path) -> None:
    add(tmp_path, "a", 0, 1)
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "train.txt").write_text("a\n")
    assert any("has no split 'val'" in line for line in examine(str(tmp_path)).errors)
    assert not examine(str(tmp_path), "train").errors


def test_an_unknown_data_set_raises() -> None:
    with pytest.raises(UserError, match="neither a known data set nor a folder"):
        examine("nowhere")
    with pytest.raises(UserError, match="neither a known data set nor a folder"):
        examine("nowhere", "train")


def test_file_and_class_names_are_printed_literally(tmp_path: Path) -> None:
    root = tmp_path / "[bold]a[/bold] [/]"
    for name in ("[red]x", "y"):
        add(root, name, 0, 1)
    (root / "classes.yaml").write_text("classes: ['[blink]road', 'b']")
    (root / "masks" / "[red]x.png").unlink()
    text = shown(examine(str(root)))
    assert str(root / "images" / "[red]x.png") in text
    assert "[blink]road" in text


def test_undecodable_and_control_characters_do_not_break_printing() -> None:
    text = shown(Diagnosis("x", ("a\udcff\n\x1b[31mb",), (), ()))
    assert "\x1b" not in text
    assert "Error: a" in text
    text.encode()


def test_long_lists_are_truncated_and_counted() -> None:
    text = shown(Diagnosis("x", tuple(f"fault {n}" for n in range(12)), (), ()), limit=10)
    assert "fault 9" in text
    assert "fault 10" not in text
    assert "... and 2 more of this kind" in text
    assert "12 errors, 0 warnings" in text


class Drawn(SegmentationDataset):
    """Samples without files; reading the last one fails."""

    name, labels = "drawn", LabelTable(("a",), ((1, 2, 3),), ((0,),))

    def __init__(self, split: str) -> None:
        self.split = split

    @property
    def sample_names(self) -> list[str]:
        return ["0", "1", "2"]

    def __getitem__(self, index: int) -> Sample:
        if index == 2:
            raise UserError("sample 2: broken; replace it")
        return Sample(str(index), Image.new("RGB", (80, 90), (index, 0, 0)), np.zeros((90, 80), dtype=np.uint8))


def test_data_without_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(READERS, "drawn", Reader(lambda root, split: Drawn(split), splits=("train", "val")))
    diagnosis = examine("drawn")
    assert diagnosis.errors == ("sample 2: broken; replace it",)
    assert diagnosis.warnings == (
        "class 'a': occurs in only 2 of 2 train images; label more, or merge it with another class",
        "train sample 0: is in train and identical to val sample 0 in val; keep it in one split",
        "train sample 1: is in train and identical to val sample 1 in val; keep it in one split",
    )
    assert diagnosis.splits[0].classes[0].pixels == 2 * 80 * 90


class Pointed(Drawn):
    """Samples whose part masks are empty, with a keypoint only in the first sample of ``train``."""

    parts = PartTable(("light",), ("a",))

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        points = (Keypoint(1, 3, 3),) if (self.split, index) == ("train", 0) else ()
        return replace(sample, parts=np.zeros((90, 80), np.uint8), keypoints=points)


def test_splits_without_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(READERS, "drawn", Reader(lambda root, split: Pointed(split), splits=("train", "val")))
    unseen = [line for line in examine("drawn").warnings if "part" in line]
    assert unseen == [
        "val: no image shows an object part, so consistency and stability cannot be measured on it; "
        "check that the part labels belong to these images"
    ]


def test_real_camvid_has_no_faults(real_data: Path) -> None:
    diagnosis = examine("camvid", "val", present(real_data / "camvid"))
    assert diagnosis.errors == ()
    assert diagnosis.warnings == ()
    assert diagnosis.splits[0].images == 101
    assert sum(count.share for count in diagnosis.splits[0].classes) == pytest.approx(1)
