from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scaleprotoseg.data.registry import READERS, Reader, data_splits, open_dataset
from scaleprotoseg.data.scenes import SIZES
from scaleprotoseg.errors import UserError


def own_folder(root: Path) -> Path:
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
    root = own_folder(tmp_path / "my [data] & <more>")
    assert len(open_dataset(str(root), "train")) == 2
    assert data_splits(str(root)) == ("train", "val")
    monkeypatch.chdir(tmp_path)
    assert len(open_dataset(root.name, "train")) == 2
    own_folder(tmp_path / "camvid")
    assert len(open_dataset("./camvid", "train")) == 2


def test_a_stranger_adds_a_reader_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = open_dataset(str(own_folder(tmp_path / "mine")), "train")
    monkeypatch.setitem(READERS, "mine", Reader(lambda root, split: mine, layout="pictures/", splits=("train",)))
    assert open_dataset("mine", "train", tmp_path) is mine
    assert data_splits("mine") == ("train",)


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(UserError, match="may not be read"):
        open_dataset(str(tmp_path), "train")

    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(UserError, match="may not be looked at"):
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
