from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scaleprotoseg.data.labels import (
    INDEX_LIMIT,
    VOID,
    LabelTable,
    describe_value,
    distinct_color,
    pack_colors,
    packaged_table,
    read_table,
    unpack_color,
)
from scaleprotoseg.errors import UserError

colors = st.tuples(*[st.integers(0, 255)] * 3)


@st.composite
def tables(draw: st.DrawFn) -> LabelTable:
    count = draw(st.integers(1, 12))
    names = draw(st.lists(st.text(min_size=1).filter(str.strip), min_size=count, max_size=count, unique=True))
    raw = draw(st.lists(st.integers(0, INDEX_LIMIT - 1), min_size=count, max_size=40, unique=True))
    owners = [*range(count), *(draw(st.integers(-1, count - 1)) for _ in raw[count:])]
    raw_ids = tuple(
        tuple(value for value, owner in zip(raw, owners, strict=True) if owner == at) for at in range(count)
    )
    void = frozenset(value for value, owner in zip(raw, owners, strict=True) if owner == -1)
    painted = draw(st.lists(colors, min_size=count, max_size=count + 3, unique=True))
    return LabelTable(tuple(names), tuple(painted[:count]), raw_ids, void, frozenset(painted[count:]))


@settings(max_examples=40, deadline=None)
@given(tables(), st.data())
def test_train_ids_of_indices_equal_a_plain_search(table: LabelTable, data: st.DataObject) -> None:
    known = [value for ids in table.raw_ids for value in ids] + sorted(table.void_ids)
    raw = np.array(data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=30)))
    expected = [next((at for at, ids in enumerate(table.raw_ids) if value in ids), VOID) for value in raw]
    for dtype in (np.uint8, np.uint16, np.int32, np.int64):
        if raw.max() <= np.iinfo(dtype).max:
            got = table.to_train_ids(raw.astype(dtype))
            assert got.dtype == np.uint8
            assert got.tolist() == expected


@settings(max_examples=40, deadline=None)
@given(tables(), st.data())
def test_train_ids_of_colors(table: LabelTable, data: st.DataObject) -> None:
    known = [*table.colors, *table.void_colors]
    pixels = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=30))
    expected = [table.colors.index(color) if color in table.colors else VOID for color in pixels]
    assert table.to_train_ids(pack_colors(np.array(pixels, dtype=np.uint8))).tolist() == expected


@settings(max_examples=40, deadline=None)
@given(tables(), st.integers(0, INDEX_LIMIT - 1))
def test_unknown_values_are_named_and_counted(table: LabelTable, value: int) -> None:
    known = {raw for ids in table.raw_ids for raw in ids} | table.void_ids
    raw = np.array([[value, value], [min(known, default=value), value]])
    expected = {} if value in known else {value: int((raw == value).sum())}
    assert table.unknown(raw) == expected
    if expected:
        with pytest.raises(UserError, match=rf"{value} \({expected[value]} px\)"):
            table.to_train_ids(raw)


def test_an_unknown_color_is_named_as_a_color() -> None:
    table = LabelTable(("road",), ((128, 64, 128),), ((0,),))
    with pytest.raises(UserError, match=r"color \(1, 2, 3\) \(2 px\)"):
        table.to_train_ids(pack_colors(np.array([[1, 2, 3], [1, 2, 3], [128, 64, 128]], dtype=np.uint8)))


def test_negative_values_are_unknown() -> None:
    table = LabelTable(("road",), ((128, 64, 128),), ((0,),))
    assert table.unknown(np.array([-1, 0], dtype=np.int8)) == {-1: 1}
    with pytest.raises(UserError, match="-1"):
        table.to_train_ids(np.array([-1, 0], dtype=np.int8))


@settings(max_examples=40, deadline=None)
@given(tables())
def test_json_and_yaml_keep_a_table(table: LabelTable) -> None:
    assert LabelTable.from_json(table.to_json()) == table
    assert LabelTable.from_json(yaml.safe_load(yaml.safe_dump(table.to_json()))) == table


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["classes", "name", "color", "id", "void", "void_colors"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(junk)
def test_any_other_content_is_a_user_error(content: object) -> None:
    try:
        table = LabelTable.from_json(content, "classes.yaml")  # type: ignore[arg-type]
    except UserError as error:
        assert str(error).startswith("classes.yaml: ")
        assert "\n" not in str(error)
    else:
        assert len(table) > 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "no 'classes'"),
        ({"classes": []}, "no classes"),
        ({"classes": "road"}, "no list of classes"),
        ({"classes": ["a", "a"]}, "'a' occurs twice"),
        ({"classes": [False]}, "put it in quotes"),
        ({"classes": [{"name": "a", "color": [0, 0, 256]}]}, "0-255"),
        ({"classes": [{"name": "a", "id": 1.5}]}, "1.5 is not a whole number"),
        ({"classes": [{"name": "a", "id": -1}]}, "raw id -1 cannot occur"),
        ({"classes": [{"name": "a", "id": 3}, {"name": "b", "id": [2, 3]}]}, "raw id 3 occurs twice"),
        ({"classes": ["a"], "void": 0}, "raw id 0 occurs twice"),
        ({"classes": [{"name": n, "color": [9, 9, 9]} for n in "ab"]}, r"color \(9, 9, 9\) occurs twice"),
        ({"classes": [str(n) for n in range(256)]}, "at most 255"),
    ],
)
def test_faults_of_a_table_are_named(content: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        LabelTable.from_json(content)


def test_every_class_needs_all_its_entries() -> None:
    with pytest.raises(UserError, match="names, colors and raw ids differ in number"):
        LabelTable(("a", "b"), ((0, 0, 0),), ((0,), (1,)))


def test_repr_names_the_first_classes() -> None:
    assert repr(packaged_table("camvid")) == "LabelTable(11 classes: Sky, Building, Pole, ...)"
    assert repr(LabelTable.from_json({"classes": ["a", "b", "c"]})) == "LabelTable(3 classes: a, b, c)"
    assert repr(LabelTable.from_json({"classes": ["a"]})) == "LabelTable(1 class: a)"


def test_short_forms() -> None:
    table = LabelTable.from_json({"classes": ["a", {"name": "b", "id": [255, 7]}, 3]})
    assert table.names == ("a", "b", "3")
    assert table.raw_ids == ((0,), (255, 7), (2,))
    assert table.void_ids == frozenset()
    assert LabelTable.from_json({"classes": ["a"]}).void_ids == {255}


def test_default_colors_differ_from_the_given_ones() -> None:
    taken = [list(distinct_color(at)) for at in range(1, 200)]
    table = LabelTable.from_json(
        {"classes": ["a"] + [{"name": str(n), "color": c} for n, c in enumerate(taken)] + ["z"]}
    )
    assert len(set(table.colors)) == len(table)


def test_palette_holds_the_colors_at_their_train_ids() -> None:
    table = packaged_table("camvid")
    assert table.palette().shape == (256, 3)
    assert [tuple(row) for row in table.palette()[:11].tolist()] == list(table.colors)
    assert not table.palette()[11:].any()


def test_read_table_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    for content in (b"classes: [", b"\xff\xfe\x00", b"", b"- a"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"classes\.yaml"):
            read_table(path)
    with pytest.raises(UserError, match=r"classes\.yaml"):
        read_table(tmp_path / "nowhere" / "classes.yaml")


@given(colors)
def test_packed_colors_come_back_and_are_no_index(color: tuple[int, int, int]) -> None:
    packed = int(pack_colors(np.array(color, dtype=np.uint8)))
    assert packed >= INDEX_LIMIT
    assert unpack_color(packed) == color
    assert describe_value(packed) == f"color {color}"


@given(st.integers(-5, INDEX_LIMIT - 1))
def test_indices_are_no_colors(value: int) -> None:
    assert unpack_color(value) is None
    assert describe_value(value) == str(value)


def test_distinct_colors_differ() -> None:
    assert len({distinct_color(index) for index in range(255)}) == 255
    assert (0, 0, 0) not in {distinct_color(index) for index in range(255)}
