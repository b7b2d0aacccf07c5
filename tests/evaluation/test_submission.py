"""Masks of a test set in the format of the benchmark servers."""

from __future__ import annotations

import tarfile
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.errors import UserError
from scaleprotoseg.evaluation.submission import write_submission
from scaleprotoseg.inference.prediction import class_map, logits_of
from tests.builders.images import Toys
from tests.builders.networks import small_network

RAW = LabelTable.from_json(
    {"classes": [{"name": "ground", "id": 7}, {"name": "disc", "id": 11}, {"name": "bar", "id": 33}]}
)


class TestSet(Toys):
    """Images without labels, of classes with their own ids in submissions."""

    __test__ = False

    def __init__(self, name: str) -> None:
        super().__init__(2)
        self.name, self.split, self.labels = name, "test", RAW

    def __getitem__(self, index):
        return replace(super().__getitem__(index), mask=None)


PLACES = {
    "voc2012": ("results.tar.gz", "results/VOC2012/Segmentation/comp6_test_cls/toy-1.png"),
    "cityscapes": ("results.zip", "results/toy-1_labelIds.png"),
}


@pytest.mark.parametrize("name", PLACES)
def test_masks_hold_the_data_sets_own_ids_at_full_size(name, tmp_path):
    network, dataset, (archive, place) = small_network(), TestSet(name), PLACES[name]
    assert write_submission(network, dataset, tmp_path / "out") == tmp_path / "out" / archive
    image = dataset[1].image
    expected = np.array([7, 11, 33])[class_map(logits_of(network, image), *image.size)]
    mask = Image.open(tmp_path / "out" / place)
    assert np.array_equal(np.array(mask), expected) and mask.mode == "P"
    open_archive = zipfile.ZipFile if name == "cityscapes" else tarfile.open
    with open_archive(tmp_path / "out" / archive) as packed:
        assert place in (packed.namelist() if name == "cityscapes" else packed.getnames())


def test_what_cannot_be_submitted_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"ade20k: has no benchmark server; choose from voc2012, cityscapes"):
        write_submission(small_network(), TestSet("ade20k"), tmp_path / "out")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        write_submission(small_network(), TestSet("voc2012"), tmp_path)
    other = TestSet("voc2012")
    other.labels = LabelTable.from_json({"classes": ["a", "b"]})
    with pytest.raises(UserError, match="are not the model's"):
        write_submission(small_network(), other, tmp_path / "out")
    with pytest.raises(UserError, match="is not empty"):
        write_submission(small_network(), TestSet("voc2012"), tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
