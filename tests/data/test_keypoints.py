from __future__ import annotations

import json
from pathlib import Path

import pytest

from scaleprotoseg.data.dataset import Keypoint
from scaleprotoseg.data.keypoints import Keypoints
from scaleprotoseg.data.labels import packaged_table
from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.errors import UserError
from tests.builders.real import present

LABELS = packaged_table("voc2012")


def points(path: Path, content: object) -> Keypoints:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return Keypoints(path, LABELS)


def thing(name: str, **keypoints: list[float]) -> dict[str, object]:
    return {"class": name, "box": [0, 0, 9, 9], "keypoints": keypoints}


def test_parts_are_pairs_of_class_and_name(tmp_path: Path) -> None:
    got = points(
        tmp_path / "k.json",
        {
            "names": ["ear", "nose"],
            "images": {
                "a": [thing("dog", nose=[1, 2], ear=[3.5, 0]), thing("cat", nose=[0, 0]), thing("dog", nose=[9, 9])],
                "b": [],
            },
        },
    )
    assert (got.table.classes, got.table.names) == (("cat", "dog", "dog"), ("nose", "ear", "nose"))
    assert got.read("a", (10, 10)).keypoints == (
        Keypoint(3, 1, 2),
        Keypoint(2, 3.5, 0),
        Keypoint(1, 0, 0),
        Keypoint(3, 9, 9),
    )
    assert got.read("a", (10, 10)).mask is None
    assert got.read("b", (10, 10)).keypoints == ()
    assert got.read("c", (10, 10)).keypoints is None


def test_points_outside_the_image_are_left_out(tmp_path: Path) -> None:
    places = {"a": [-0.5, 0], "b": [0, 0], "c": [3.9, 2.9], "d": [4, 0], "e": [0, 3]}
    got = points(tmp_path / "k.json", {"names": list("abcde"), "images": {"x": [thing("cow", **places)]}})
    assert len(got.table.names) == 5
    assert got.read("x", (4, 3)).keypoints == (Keypoint(2, 0, 0), Keypoint(3, 3.9, 2.9))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", r"cannot be read as JSON \(.*; write \{"),
        ("[]", r"not a keypoints file \(list"),
        ({"names": []}, r"not a keypoints file \(no 'images'\)"),
        ({"names": [1], "images": {}}, r"not a keypoints file \(1 is not a name\)"),
        ({"names": [], "images": []}, r"not a keypoints file"),
        ({"names": ["a"], "images": {"x": [], "y": [thing("dog")]}}, r"holds no points; write"),
        ({"names": [], "images": {"x": [{"class": "dog"}]}}, r"\(no 'keypoints'\)"),
        ({"names": [], "images": {"x": [{"keypoints": {"a": [0, 0]}}]}}, r"\(no 'class'\)"),
        ({"names": ["a"], "images": {"x": [thing("dog", a=[1])]}}, r"\(a in x is \[1\], not \[x, y\] in pixels\)"),
        ('{"names": ["a"], "images": {"x": [{"class": "dog", "keypoints": {"a": [NaN, 0]}}]}}', r"is \[nan, 0\]"),
        (
            f'{{"names": ["a"], "images": {{"x": [{{"class": "dog", "keypoints": {{"a": [{"9" * 400}, 0]}}}}]}}}}',
            r"\(int too large",
        ),
        (
            {"names": ["a"], "images": {"x": [thing("unicorn", a=[0, 0])]}},
            r"no class is called 'unicorn'; use one of",
        ),
        ({"names": ["a"], "images": {"x": [thing("dog", b=[0, 0])]}}, r"'b' of dog is not listed in names; add it or"),
    ],
)
def test_faults_of_the_file_are_named(tmp_path: Path, content: object, says: str) -> None:
    path = tmp_path / "points.json"
    with pytest.raises(UserError, match=rf"^{path}: .*{says}") as caught:
        points(path, content)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.json: no such file; check the path given for the parts"):
        Keypoints(tmp_path / "nowhere.json", LABELS)


@pytest.mark.parametrize("split", ["train", "val"])
def test_animals_of_pascal(real_data: Path, split: str) -> None:
    folder = real_data / "voc2012-subset"
    path = folder / "animal_keypoints.json"
    present(path)
    raw = json.loads(path.read_text())
    data = open_dataset("voc2012", split, folder / "VOCdevkit" / "VOC2012", parts=path)
    assert data.parts is not None
    table = list(zip(data.parts.classes, data.parts.names, strict=True))
    animals = [name for name in LABELS.names if name in {"cat", "cow", "dog", "horse", "sheep"}]
    assert table == [(animal, name) for animal in animals for name in raw["names"]]
    labeled = 0
    for sample in data:
        assert sample.parts is None
        if sample.name not in raw["images"]:
            assert sample.keypoints is None
            continue
        labeled += 1
        expected = [
            (animal["class"], name, *place)
            for animal in raw["images"][sample.name]
            for name, place in animal["keypoints"].items()
            if 0 <= place[0] < sample.image.width and 0 <= place[1] < sample.image.height
        ]
        assert sample.keypoints is not None
        assert [(*table[point.part - 1], point.x, point.y) for point in sample.keypoints] == expected
    assert labeled == sum(name in raw["images"] for name in data.sample_names) > 200


@pytest.mark.parametrize("count", [255, 256])
def test_there_are_at_most_as_many_parts_as_an_8_bit_mask_can_hold(tmp_path: Path, count: int) -> None:
    names = [f"p{number}" for number in range(count)]
    content = {"names": names, "images": {"x": [thing("cow", **{name: [0, 0] for name in names})]}}
    if count == 255:
        assert len(points(tmp_path / "k.json", content).table.names) == count
    else:
        with pytest.raises(UserError, match=r"k\.json: has 256 parts \(pairs of class and name\); keep at most 255"):
            points(tmp_path / "k.json", content)
