from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scaleprotoseg.data.registry import READERS, Reader, data_splits, open_dataset
from scaleprotoseg.data.scenes import SIZES
from scaleprotoseg.errors import UserError


def write_folder(root: Path) -> Path:
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).save(root / kind / f"{number}.png")
    return root


def test_scenes_need_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(SIZES, "val", 2)
    data = open_dataset("scenes", "val")
    assert data.name == "scenes"
    assert data.split == "val"
    assert len(data) == 2


def test_a_folder_opens_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path / "my [data] & <more>")
    assert len(open_dataset(str(root), "train")) == 2
    assert data_splits(str(root)) == ("train", "val")
    monkeypatch.chdir(tmp_path)
    assert len(open_dataset(root.name, "train")) == 2
    write_folder(tmp_path / "camvid")
    assert len(open_dataset("./camvid", "train")) == 2


def test_paths_may_be_of_any_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("camvid", "camvid/train", "camvid/trainannot"):
        (tmp_path / kind).mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "camvid" / "train" / "a.png")
    Image.new("L", (4, 4), 3).save(tmp_path / "camvid" / "trainannot" / "a.png")
    write_folder(tmp_path / "camvid")

    class AnyPath:
        def __init__(self, path: str) -> None:
            self.path = path

        def __fspath__(self) -> str:
            return self.path

    monkeypatch.chdir(tmp_path)
    for kind in (str, Path, AnyPath):
        assert open_dataset("camvid", "train", root=kind("camvid")).sample_names == ["a"]
        assert data_splits("camvid", root=kind("camvid")) == ("train", "val", "test")
        assert len(open_dataset(kind("./camvid"), "train")) == 2
        assert data_splits(kind("./camvid")) == ("train", "val")
        with pytest.raises(UserError, match="camvid: takes no parts from here"):
            open_dataset("camvid", "train", root=kind("camvid"), parts=kind("here"))
        with pytest.raises(UserError, match="--root is only for"):
            open_dataset(kind("./camvid"), "train", root=kind("."))


def test_a_path_always_means_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="camvid: no such folder; check the path"):
        open_dataset(Path("camvid"), "train")
    write_folder(tmp_path / "camvid")
    assert open_dataset(Path("camvid"), "train").labels.names == ("class 0", "class 1")


def test_a_reader_is_added_with_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = open_dataset(str(write_folder(tmp_path / "mine")), "train")
    monkeypatch.setitem(READERS, "mine", Reader(lambda root, split: mine, layout="images/", splits=("train",)))
    assert open_dataset("mine", "train", tmp_path) is mine
    assert data_splits("mine") == ("train",)


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(UserError, match="cannot be read"):
        open_dataset(str(tmp_path), "train")

    def deny(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", deny)
    with pytest.raises(UserError, match="cannot be accessed"):
        open_dataset("camvid", "train", tmp_path)


@pytest.mark.parametrize(
    ("name", "split", "root", "says"),
    [
        ("camvit", "train", None, r"camvit: neither a known data set nor a folder; did you mean 'camvid'\? known are"),
        ("zzz", "train", None, r"nor a folder; known are scenes, camvid"),
        ("/nowhere/at/all", "train", None, r"/nowhere/at/all: no such folder"),
        ("camvid", "train", None, r"camvid: its folder is missing; give --root DIR .*train/, trainannot/"),
        ("camvid", "train", Path("/nowhere"), r"/nowhere: no such folder"),
        ("camvid", "valid", None, r"camvid: has no split 'valid'; choose from train, val, test"),
        ("scenes", "valid", None, r"scenes: has no split 'valid'; choose from train, val, test"),
        (__file__, "train", None, r"not a folder"),
        (str(Path(__file__).parent), "train", Path("/"), r"--root is only for data sets known by name"),
    ],
)
def test_mistakes_are_named(name: str, split: str, root: Path | None, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        open_dataset(name, split, root)
    assert "\n" not in str(caught.value)
