"""Data sets with the classes of a model."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from scaleprotoseg.data.dataset import Keypoint
from scaleprotoseg.data.joined import Joined
from scaleprotoseg.data.labels import VOID, LabelTable
from scaleprotoseg.data.relabeled import with_classes
from scaleprotoseg.data.subset import Subset, spread
from scaleprotoseg.errors import UserError
from tests.builders.images import Given, PartToys, Toys, sample_of


def table(*names: str) -> LabelTable:
    return LabelTable.from_json({"classes": list(names)})


def test_classes_are_matched_by_name_and_what_is_unmatched_is_logged_and_void(caplog):
    caplog.set_level(logging.INFO)
    ours = with_classes(table("sky", "__BAR__", "Disc "), Toys(2))
    before, after = Toys(2)[0].mask, ours[0].mask
    expected = np.array([VOID, 2, 1] + [VOID] * 253)[before]
    assert np.array_equal(after, expected) and ours.labels.names == ("sky", "__BAR__", "Disc ")
    assert ours.sample_names == Toys(2).sample_names
    assert "the model has no class for ground" in caplog.text and "has no class for sky" in caplog.text


def test_the_same_classes_change_nothing():
    toys = Toys()
    assert with_classes(table("ground", "disc", "bar"), toys) is toys


def test_a_mapping_names_what_is_called_differently(tmp_path):
    file = tmp_path / "mapping.yaml"
    file.write_text("disc: ball\n")
    ours = with_classes(table("ball", "ground"), Toys(1), file)
    assert np.array_equal(ours[0].mask, np.array([1, 0, VOID] + [VOID] * 253)[Toys(1)[0].mask])
    for text, message in [
        ("ring: ball", "the data has no class 'ring'; it has ground, disc, bar"),
        ("disc: ring", "the model has no class 'ring'; it has ball, ground"),
        ("- disc", "is not a mapping of classes"),
        ("{", "cannot be read as YAML"),
    ]:
        file.write_text(text)
        with pytest.raises(UserError, match=r"mapping\.yaml: ") as caught:
            with_classes(table("ball", "ground"), Toys(1), file)
        assert message in str(caught.value)


def test_data_without_a_common_class_is_refused():
    with pytest.raises(UserError, match=r"toys: its classes \(ground, disc, bar\) are not the model's \(road, car\)"):
        with_classes(table("road", "car"), Toys())


def test_parts_follow_their_classes():
    ours = with_classes(table("bar", "ground"), PartToys(2))
    assert ours.parts is not None
    assert (ours.parts.names, ours.parts.classes) == (("end",), ("bar",))
    assert np.array_equal(ours[0].parts, np.array([0, 0, 0, 1])[PartToys(2)[0].parts])
    points = tuple(Keypoint(part, 1.0, 1.0) for part in (1, 3))
    given = with_classes(table("bar", "ground"), Given([sample_of(np.zeros((4, 4), np.uint8), keypoints=points)]))
    assert given[0].keypoints == (Keypoint(1, 1.0, 1.0),)


def test_joined_data_has_all_samples_under_different_names():
    joined = Joined([PartToys(2), Toys(3)])
    assert joined.sample_names == ["toy-0", "toy-1", "toys/toy-0", "toys/toy-1", "toys/toy-2"]
    assert len(joined) == 5 and joined.parts is PartToys.parts
    assert [joined[index].name for index in range(5)] == joined.sample_names
    assert np.array_equal(joined[4].mask, Toys(3)[2].mask)
    assert joined[0].parts is not None and joined[2].parts is None


def test_a_subset_is_spread_evenly():
    assert spread(Toys(5), 5).sample_names == Toys(5).sample_names
    few = spread(Toys(10), 4)
    assert isinstance(few, Subset) and few.indices == [0, 2, 5, 7] and len(few) == 4
    assert few[1].name == few.sample_names[1] == "toy-2"
