"""The electron microscopy stack of ISBI 2012."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scaleprotoseg.data.isbi_em import IsbiEm
from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.errors import UserError
from tests.builders.real import present


@pytest.fixture(scope="module")
def root(real_data: Path) -> Path:
    return present(real_data / "isbi2012")


def write_stack(path: Path, slices: int, value: int = 255, size: tuple[int, int] = (8, 6)) -> None:
    pages = [Image.new("L", size, value) for _ in range(slices)]
    pages[0].save(path, save_all=True, append_images=pages[1:])


def test_all_thirty_slices_are_in_one_of_the_splits(root):
    splits = [open_dataset("isbi_em", split, root) for split in ("train", "val")]
    assert [len(split) for split in splits] == [20, 10]
    assert repr(splits[0]) == "<IsbiEm isbi_em/train: 20 images, 2 classes>"
    names = sorted(name for split in splits for name in split.sample_names)
    assert names == [f"slice-{index:02d}" for index in range(30)]


def test_the_published_split(root):
    np.random.seed(42)  # noqa: NPY002  (as published)
    drawn = np.random.choice(30, 10, replace=False)  # noqa: NPY002
    assert IsbiEm(root, "val").slices == sorted(drawn.tolist())


@pytest.mark.parametrize("split", ["train", "val"])
def test_images_and_histograms_equal_those_of_the_raw_files(root, split):
    data = IsbiEm(root, split)
    assert data.labels.names == ("membrane", "cell")
    with Image.open(root / "train-labels.tif") as labels, Image.open(root / "train-volume.tif") as volume:
        for index, name in enumerate(data.sample_names):
            sample = data[index]
            for stack in (labels, volume):
                stack.seek(int(name.removeprefix("slice-")))
            assert sample.image.size == (512, 512) and sample.image.mode == "RGB"
            assert np.array_equal(np.array(sample.image)[..., 1], np.array(volume))
            raw = Counter(labels.tobytes())
            assert Counter(sample.mask.tobytes()) == {0: raw[0], 1: raw[255]}


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UserError, match=r"train-volume\.tif: no such file; put .* of the ISBI 2012"):
        IsbiEm(tmp_path, "train")
    write_stack(tmp_path / "train-volume.tif", 12)
    (tmp_path / "train-labels.tif").write_bytes(b"no TIFF")
    with pytest.raises(UserError, match=r"train-labels\.tif: not a readable TIFF"):
        IsbiEm(tmp_path, "train")
    write_stack(tmp_path / "train-labels.tif", 11)
    with pytest.raises(UserError, match=r"train-labels\.tif: has 11 slices but train-volume\.tif has 12"):
        IsbiEm(tmp_path, "train")
    write_stack(tmp_path / "train-labels.tif", 12, size=(7, 6))
    with pytest.raises(UserError, match="another size"):
        IsbiEm(tmp_path, "train")[0]
    write_stack(tmp_path / "train-labels.tif", 12, value=7)
    with pytest.raises(UserError, match=r"train-labels\.tif, slice \d+: mask values not in the label table"):
        IsbiEm(tmp_path, "val")[0]
    for name in ("train-volume.tif", "train-labels.tif"):
        write_stack(tmp_path / name, 5)
    with pytest.raises(UserError, match="has 5 slices, not the 30"):
        IsbiEm(tmp_path, "train")


def test_a_damaged_slice(tmp_path):
    for name in ("train-volume.tif", "train-labels.tif"):
        write_stack(tmp_path / name, 12)
    data = IsbiEm(tmp_path, "train")
    whole = (tmp_path / "train-volume.tif").read_bytes()
    (tmp_path / "train-volume.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"train-volume\.tif: slice \d+ cannot be read"):
        [data[index] for index in range(len(data))]
