from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scaleprotoseg.data.files import FaultyDataError, Pair, PairedFiles, list_images, pair_folders, whole_or_error
from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.errors import UserError

TABLE = LabelTable(("a", "b"), ((1, 1, 1), (2, 2, 2)), ((0,), (1,)))


def write(path: Path, values: object = 0, size: tuple[int, int] = (4, 3)) -> Path:
    """Write a gray image of one value or of the given values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.full(size[::-1], values) if np.ndim(values) == 0 else np.array(values)
    Image.fromarray(array.astype(np.uint8)).save(path, "PNG" if path.suffix.lower() == ".png" else None)
    return path


def test_pairs_are_read_in_order(tmp_path: Path) -> None:
    pairs = [
        Pair("one", write(tmp_path / "1.png", 50), write(tmp_path / "m1.png", [[0, 1, 255, 0]] * 3)),
        Pair("two", write(tmp_path / "2.png", 60)),
    ]
    data = PairedFiles("mine", "train", pairs, TABLE)
    assert (data.name, data.split, len(data), data.sample_names) == ("mine", "train", 2, ["one", "two"])
    assert data[0].name == "one"
    assert data[0].mask is not None
    assert data[0].mask.tolist() == [[0, 1, 255, 0]] * 3
    assert data[1].mask is None
    assert data[1].image.getpixel((0, 0)) == (60, 60, 60)
    assert pickle.loads(pickle.dumps(data))[0].name == "one"


def test_repr_counts_images_and_classes(tmp_path: Path) -> None:
    pairs = [Pair(name, tmp_path / name) for name in ("one", "two")]
    assert repr(PairedFiles("mine", "train", pairs, TABLE)) == "<PairedFiles mine/train: 2 images, 2 classes>"
    single = PairedFiles("mine", "val", pairs[:1], LabelTable(("a",), ((1, 1, 1),), ((0,),)))
    assert repr(single) == "<PairedFiles mine/val: 1 image, 1 class>"


def test_masks_are_read_with_the_given_function(tmp_path: Path) -> None:
    pair = Pair("one", write(tmp_path / "1.png"), tmp_path / "values.npy")
    np.save(tmp_path / "values.npy", np.ones((3, 4), dtype=np.int32))
    data = PairedFiles("mine", "train", [pair], TABLE, read=np.load)
    assert data[0].mask is not None
    assert data[0].mask.tolist() == [[1] * 4] * 3


def test_each_fault_of_a_pair_names_its_file(tmp_path: Path) -> None:
    image, broken = write(tmp_path / "i.png"), tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG")
    small, strange = write(tmp_path / "small.png", 0, (2, 2)), write(tmp_path / "strange.png", [[0, 7, 7, 9]] * 3)
    both = write(tmp_path / "both.png", [[7]])
    data = PairedFiles("mine", "train", [Pair(m.stem, image, m) for m in (broken, small, strange, both)], TABLE)
    for index, says in enumerate(
        [
            rf"^{broken}: not a readable image",
            rf"^{image}: is 4x3 but its mask {small} is 2x2; masks must match pixel by pixel",
            rf"^{strange}: mask values not in the label table: 7 \(6 px\), 9 \(3 px\); correct",
        ]
    ):
        with pytest.raises(UserError, match=says):
            data[index]
    assert len(data.inspect(3).faults) == 2
    unreadable = PairedFiles("mine", "train", [Pair("x", broken, small)], TABLE).inspect(0)
    assert unreadable.image is None
    assert unreadable.mask is not None


def test_names_are_paths_without_extensions(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.b.png", "sub/c d.Tiff", "sub/[x] & <y>.png", "#1.png"):
        write(tmp_path / "i" / name)
    for name in (".hidden.png", "._a.png", ".git/z.png", "notes.txt", "Thumbs.db", ".DS_Store"):
        (tmp_path / "i" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "i" / name).write_bytes(b"")
    found, faults = list_images(tmp_path / "i")
    assert list(found) == ["#1", "a.b", "b", "sub/[x] & <y>", "sub/c d"]
    assert faults == []


def test_accents_match_however_they_are_stored(tmp_path: Path) -> None:
    write(tmp_path / "i" / "cafe\u0301.png")
    write(tmp_path / "m" / "caf\u00e9.png")
    pairing = pair_folders(tmp_path / "i", tmp_path / "m")
    assert list(pairing.pairs) == ["caf\u00e9"]
    assert not pairing.unlabelled
    assert not pairing.orphans


def test_names_of_any_bytes_can_be_printed(tmp_path: Path) -> None:
    name = os.fsdecode(b"stra\xdfe")  # Latin-1, which is not valid UTF-8.
    try:
        pair = Pair(name, write(tmp_path / f"{name}.png"), write(tmp_path / "mask.png"))
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    data = PairedFiles("mine", "train", [pair], TABLE)
    assert data.sample_names == [data[0].name] == ["stra\N{REPLACEMENT CHARACTER}e"]


def test_all_pairing_faults_are_found(tmp_path: Path) -> None:
    for name in ("i/a.jpg", "i/a.png", "i/b.png", "i/c.png", "m/a.png", "m/b.png", "m/d.png"):
        write(tmp_path / name)
    pairing = pair_folders(tmp_path / "i", tmp_path / "m")
    assert pairing.unlabelled == {"c": f"{tmp_path}/i/c.png: has no mask; add {tmp_path}/m/c.png or remove the image"}
    assert len(pairing.orphans) == 1
    assert pairing.orphans[0].startswith(f"{tmp_path}/m/d.png: is a mask without an image")
    assert pairing.faults == [
        f"{tmp_path}/i/a.png: has the same name as a.jpg; names must differ, rename or remove one"
    ]
    assert pairing.pairs["a"].image.name == "a.jpg"


def test_a_missing_folder_is_one_fault(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path / "i" / f"{number}.png")
    pairing = pair_folders(tmp_path / "i", tmp_path / "m")
    assert pairing.faults == [f"{tmp_path}/m: no such folder; create it or check the path"]
    assert not pairing.unlabelled
    (tmp_path / "m").write_text("a file")
    assert "no such folder" in pair_folders(tmp_path / "i", tmp_path / "m").faults[0]


def test_a_folder_without_read_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "i" / "a.png")
    write(tmp_path / "i" / "sub" / "b.png")
    scandir = os.scandir

    def deny(path: str) -> object:
        if str(path).endswith("sub"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    found, faults = list_images(tmp_path / "i")
    assert list(found) == ["a"]
    assert faults == [f"{tmp_path}/i/sub: folder cannot be read (Permission denied); change its permissions"]


def test_faults_are_raised_together(tmp_path: Path) -> None:
    data = PairedFiles("mine", "train", [Pair("x", tmp_path)], TABLE)
    assert whole_or_error(data, []) is data
    with pytest.raises(FaultyDataError, match=r"^first$"):
        whole_or_error(data, ["first"])
    with pytest.raises(FaultyDataError, match=r"^first \(and 2 more; run scaleprotoseg check-data\)$") as caught:
        whole_or_error(data, ["first", "second", "third"])
    assert caught.value.faults == ("first", "second", "third")
    assert caught.value.usable is data
    with pytest.raises(UserError, match="split train has no images"):
        whole_or_error(PairedFiles("mine", "train", [], TABLE), [])
