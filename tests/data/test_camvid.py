from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from scaleprotoseg.data.camvid import camvid
from scaleprotoseg.data.labels import VOID
from scaleprotoseg.errors import UserError
from tests.builders.real import present

NAMES = ["Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"]


@pytest.fixture(scope="module")
def root(real_data: Path) -> Path:
    return present(real_data / "camvid")


@pytest.mark.parametrize(("split", "count"), [("train", 367), ("val", 101), ("test", 233)])
def test_published_splits(root: Path, split: str, count: int) -> None:
    data = camvid(root, split)
    assert len(data) == count
    assert data.sample_names == sorted(path.stem for path in (root / split).iterdir())
    assert data.labels.names == tuple(NAMES)
    assert data.split == split
    assert repr(data) == f"<PairedFiles camvid/{split}: {count} images, 11 classes>"


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_class_histograms_equal_those_of_the_raw_files(root: Path, split: str) -> None:
    data = camvid(root, split)
    for index in range(0, len(data), 40):
        sample = data[index]
        assert sample.image.size == (480, 360)
        assert sample.image.mode == "RGB"
        raw = Counter(Image.open(root / f"{split}annot" / f"{sample.name}.png").tobytes())
        assert sample.mask is not None
        got = Counter(sample.mask.tobytes())
        assert {(NAMES[t] if t != VOID else "void"): n for t, n in got.items()} == {
            (NAMES[value] if value != 11 else "void"): n for value, n in raw.items()
        }


def test_a_folder_without_camvid(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train: no such folder; .* \(and 1 more; run scaleprotoseg check-data\)"):
        camvid(tmp_path, "train")


def test_faults_in_the_layout(tmp_path: Path) -> None:
    for folder in ("train", "trainannot"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "train" / "a.png")
    Image.new("L", (4, 4), 11).save(tmp_path / "trainannot" / "b.png")
    with pytest.raises(UserError, match=r"a\.png: has no mask; add .*trainannot/a\.png .*\(and 1 more"):
        camvid(tmp_path, "train")
    Image.new("L", (4, 4), 3).save(tmp_path / "trainannot" / "a.png")
    (tmp_path / "trainannot" / "b.png").unlink()
    mask = camvid(tmp_path, "train")[0].mask
    assert mask is not None
    assert (mask == 3).all()
