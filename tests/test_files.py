"""Files and folders are replaced whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from scaleprotoseg.errors import UserError
from scaleprotoseg.files import replacing_folder, require_place, write_file
from scaleprotoseg.training.checkpoints import AtomicCheckpoints


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced(tmp_path):
    write_file(tmp_path / "deep" / "a.txt", "one")
    write_file(tmp_path / "deep" / "a.txt", "zwei ü")
    assert (tmp_path / "deep" / "a.txt").read_text(encoding="utf-8") == "zwei ü"
    assert names(tmp_path / "deep") == ["a.txt"]


def test_a_place_that_is_taken_by_the_other_kind(tmp_path):
    (tmp_path / "file").touch()
    for name in ("new", "file"):
        require_place(tmp_path / name)
    for name in ("new", "."):
        require_place(tmp_path / name, folder=True)
    with pytest.raises(UserError, match="is a folder; name a file"):
        require_place(tmp_path)
    with pytest.raises(UserError, match="is a file; name a folder"):
        require_place(tmp_path / "file", folder=True)


def test_a_full_disk_leaves_the_old_file_alone(tmp_path, monkeypatch):
    write_file(tmp_path / "a.txt", "one")

    class Full:
        def __init__(self, handle, _):
            os.close(handle)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("scaleprotoseg.files.os.fdopen", Full)
    with pytest.raises(UserError, match="No space left"):
        write_file(tmp_path / "a.txt", "two")
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "one"


def test_a_folder_comes_back_if_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    rename = Path.rename

    def stubborn(self, target):
        if (self / "new").exists():
            raise OSError(errno.EACCES, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stubborn)
    with pytest.raises(UserError, match="Permission denied"), replacing_folder(tmp_path / "model") as new:
        (new / "new").touch()
    assert names(tmp_path) == ["model"] and names(tmp_path / "model") == ["old"]


def test_a_checkpoint_is_replaced_in_one_move(tmp_path):
    place = tmp_path / "last.ckpt"
    for step in (1, 2):
        AtomicCheckpoints().save_checkpoint({"step": step, "weight": torch.ones(3)}, place)
        assert torch.load(place)["step"] == step
    assert names(tmp_path) == ["last.ckpt"]
