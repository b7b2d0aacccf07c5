from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from scaleprotoseg.data.files import FaultyDataError, PairedFiles, normal_name
from scaleprotoseg.data.folder import folder, folder_splits
from scaleprotoseg.errors import UserError


def add(root: Path, name: str, mask: object | None, suffix: str = ".png", palette: list[int] | None = None) -> None:
    """Add an image and, unless it is None, a mask: rows of indices or colors."""
    values = None if mask is None else np.array(mask, dtype=np.uint8)
    size = (2, 2) if values is None else values.shape[1::-1]
    image_path, mask_path = root / "images" / f"{name}{suffix}", root / "masks" / f"{name}.png"
    for path in (image_path, mask_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (len(name), 0, 0)).save(image_path, "PNG")
    if values is not None:
        image = Image.fromarray(values)
        if palette is not None:
            image.putpalette(palette)
        image.save(mask_path)


def write_list(root: Path, split: str, text: str) -> None:
    (root / "splits").mkdir(exist_ok=True)
    (root / "splits" / f"{split}.txt").write_text(text, encoding="utf-8")


def masks_of(data: PairedFiles) -> list[object]:
    return [None if (mask := data[index].mask) is None else mask.tolist() for index in range(len(data))]


# "/" separates folders and a leading dot hides a file; all other characters may occur in a name.
stems = st.text(
    st.characters(categories=["L", "M", "N", "P", "S", "Zs"], exclude_characters="/"), min_size=1, max_size=12
)
printable = stems.filter(lambda name: not name.startswith(".") and len(name.encode()) < 100)


@settings(max_examples=40, deadline=None)
@given(names=st.lists(printable, min_size=2, max_size=5, unique=True), listed=st.booleans())
def test_any_names_are_found_split_and_read(names: list[str], listed: bool) -> None:
    # Two Unicode forms of the same accented name are an error, see test_two_unicode_forms_of_a_name_are_refused.
    assume(len({normal_name(name) for name in names}) == len(names))
    with tempfile.TemporaryDirectory() as top:
        root = Path(top) / "a [b] & <c>"
        for name in names:
            add(root, name, [[0, 1]])
        stored = {path.name.removesuffix(".png") for path in (root / "images").iterdir()}
        if listed:
            write_list(root, "train", "\n".join([*sorted(stored)[1:], ""]))
            write_list(root, "val", sorted(stored)[0] + ".png\n")
        train, val = folder(root, "train"), folder(root, "val")
        together = train.sample_names + val.sample_names
        assert len(together) == len(set(together)) == len(stored)
        assert {pair.image.name.removesuffix(".png") for pair in (*train.pairs, *val.pairs)} == stored
        assert masks_of(train) == [[[0, 1]]] * len(train)


def test_two_unicode_forms_of_a_name_are_refused(tmp_path: Path) -> None:
    for name in ("caf\u00e9", "cafe\u0301"):
        add(tmp_path, name, [[0, 1]])
    if len(list((tmp_path / "images").iterdir())) == 1:
        pytest.skip("this file system takes both forms for the same name")
    with pytest.raises(UserError, match="has the same name"):
        folder(tmp_path, "train")


@settings(max_examples=15, deadline=None)
@given(count=st.integers(2, 40))
def test_hashed_splits_divide_all_images(count: int) -> None:
    with tempfile.TemporaryDirectory() as top:
        root = Path(top)
        add(root, "0", [[0, 1]])
        for number in range(1, count):
            for kind in ("images", "masks"):
                (root / kind / f"{number}.png").hardlink_to(root / kind / "0.png")
        train, val = folder(root, "train").sample_names, folder(root, "val").sample_names
        assert sorted(train + val) == sorted(map(str, range(count)))
        assert len(val) == max(1, round(count / 5))
        assert folder(root, "val").sample_names == val


def test_the_hashed_split_is_the_same_everywhere(tmp_path: Path) -> None:
    for number in range(10):
        add(tmp_path, f"image{number}", [[0, 1]])
    assert folder(tmp_path, "val").sample_names == ["image0", "image6"]  # The lowest SHA-256 of the ten.


def test_images_stay_in_their_split_when_others_are_added(tmp_path: Path) -> None:
    for number in range(20):
        add(tmp_path, f"{number}", [[0, 1]])
    before = set(folder(tmp_path, "val").sample_names)
    for number in range(20, 25):
        add(tmp_path, f"{number}", [[0, 1]])
    assert len(before - set(folder(tmp_path, "val").sample_names)) <= 2


def test_lists_may_hold_names_with_and_without_extensions_comments_and_blank_lines(tmp_path: Path) -> None:
    for name in ("a", "b.c", "sub/d", "#1", "e"):
        add(tmp_path, name, [[0, 1]])
    write_list(tmp_path, "train", "\ufeff# first\r\n\r\na.JPG\r\n  b.c \r\nsub/d.png\r\n#1\r\n")
    write_list(tmp_path, "val", "e")
    assert folder(tmp_path, "train").sample_names == ["a", "b.c", "sub/d", "#1"]
    assert folder_splits(tmp_path) == ("train", "val")


def test_faults_in_a_list_name_file_and_line(tmp_path: Path) -> None:
    add(tmp_path, "a", [[0, 1]])
    write_list(tmp_path, "train", "a\n\nmissing.png\na.png\n")
    with pytest.raises(FaultyDataError) as caught:
        folder(tmp_path, "train")
    path = tmp_path / "splits" / "train.txt"
    assert caught.value.faults == (
        f"{path}, line 3: no image is called 'missing.png'; correct or remove the line",
        f"{path}, line 4: 'a' is listed twice; remove the line",
    )
    assert caught.value.usable is not None
    assert caught.value.usable.sample_names == ["a"]
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match=r"train\.txt: cannot be read as UTF-8"):
        folder(tmp_path, "train")
    path.write_text("# nothing\n")
    with pytest.raises(UserError, match="split train has no images"):
        folder(tmp_path, "train")


def test_only_listed_images_need_masks_and_test_images_need_none(tmp_path: Path) -> None:
    add(tmp_path, "a", [[0, 1]])
    add(tmp_path, "new", None)
    write_list(tmp_path, "train", "a")
    assert len(folder(tmp_path, "train")) == 1
    write_list(tmp_path, "test", "new\na")
    assert masks_of(folder(tmp_path, "test")) == [None, [[0, 1]]]
    write_list(tmp_path, "train", "a\nnew")
    with pytest.raises(UserError, match=r"new\.png: has no mask; add .*masks/new\.png"):
        folder(tmp_path, "train")


@pytest.mark.parametrize("listed", [True, False])
def test_a_missing_split(tmp_path: Path, listed: bool) -> None:
    add(tmp_path, "a", [[0, 1]])
    if listed:
        write_list(tmp_path, "train", "a")
    with pytest.raises(UserError, match=r"has no split 'test'; list its image names in .*splits/test\.txt"):
        folder(tmp_path, "test")


def test_a_single_image_has_no_validation(tmp_path: Path) -> None:
    add(tmp_path, "a", [[0, 1]])
    assert len(folder(tmp_path, "train")) == 1
    with pytest.raises(UserError, match="a single image leaves none for validation"):
        folder(tmp_path, "val")


def test_missing_folders_and_masks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"images: no such folder"):
        folder(tmp_path, "train")
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(UserError, match=r"no images|no mask holds"):
        folder(tmp_path, "train")
    add(tmp_path, "a", [[0, 1]])
    add(tmp_path, "b", None)
    Image.new("L", (2, 2)).save(tmp_path / "masks" / "c.png")
    with pytest.raises(FaultyDataError) as caught:
        folder(tmp_path, "train")
    assert len(caught.value.faults) == 2


def test_classes_found_in_index_masks(tmp_path: Path) -> None:
    add(tmp_path, "a", [[0, 5]])
    add(tmp_path, "b", [[2, 255]])
    for split in ("train", "val"):
        labels = folder(tmp_path, split).labels
        assert labels.names == ("class 0", "class 2", "class 5")
        assert labels.raw_ids == ((0,), (2,), (5,))
        assert labels.void_ids == {255}
        assert len(set(labels.colors)) == 3
    assert sorted(masks_of(folder(tmp_path, "train")) + masks_of(folder(tmp_path, "val"))) == [[[0, 2]], [[1, 255]]]


def test_palette_colors_become_class_colors(tmp_path: Path) -> None:
    palette = [0, 0, 0, 200, 0, 0, 0, 200, 0]
    add(tmp_path, "a", [[0, 2]], palette=palette)
    add(tmp_path, "b", [[1, 0]], palette=palette)
    assert folder(tmp_path, "train").labels.colors == ((0, 0, 0), (200, 0, 0), (0, 200, 0))


def test_palettes_that_disagree_are_a_fault(tmp_path: Path) -> None:
    add(tmp_path, "a", [[0, 1]], palette=[0, 0, 0, 200, 0, 0])
    add(tmp_path, "b", [[0, 1]], palette=[0, 0, 0, 0, 200, 0])
    with pytest.raises(UserError, match=r"b\.png: its palette gives index 1 another color than .*a\.png"):
        folder(tmp_path, "train")
    (tmp_path / "classes.yaml").write_text("classes: [x, y]")
    assert folder(tmp_path, "train").labels.names == ("x", "y")


def test_a_mask_of_0_and_255_is_background_and_foreground(tmp_path: Path) -> None:
    add(tmp_path, "a", [[0, 255]])
    add(tmp_path, "b", [[0, 0]])
    labels = folder(tmp_path, "train").labels
    assert labels.names == ("background", "foreground")
    assert labels.void_ids == frozenset()
    assert masks_of(folder(tmp_path, "train")) + masks_of(folder(tmp_path, "val")) in (
        [[[0, 1]], [[0, 0]]],
        [[[0, 0]], [[0, 1]]],
    )


def test_masks_without_any_label(tmp_path: Path) -> None:
    add(tmp_path, "a", [[255, 255]])
    with pytest.raises(UserError, match="no mask holds a labeled pixel"):
        folder(tmp_path, "train")


def test_classes_found_in_color_masks(tmp_path: Path) -> None:
    red, black, blue = (255, 0, 0), (0, 0, 0), (0, 0, 255)
    add(tmp_path, "a", [[red, black]])
    add(tmp_path, "b", [[blue, black]])
    for split in ("train", "val"):
        data = folder(tmp_path, split)
        assert data.labels.names == ("class 0", "class 1", "class 2")
        assert data.labels.colors == (black, blue, red)
        assert masks_of(data)[0] in ([[2, 0]], [[1, 0]])


def test_too_many_colors_or_values_ask_for_a_table(tmp_path: Path) -> None:
    add(tmp_path, "a", [[(value, 0, 0) for value in range(65)]])
    with pytest.raises(UserError, match=r"masks: the masks hold 65 different values, .* classes in classes\.yaml"):
        folder(tmp_path, "train")
    add(tmp_path, "a", [list(range(256))])
    with pytest.raises(UserError, match="256 different values"):
        folder(tmp_path, "train")


def test_colors_and_indices_do_not_mix_without_a_table(tmp_path: Path) -> None:
    add(tmp_path, "a", [[0, 1]])
    add(tmp_path, "b", [[(9, 9, 9), (0, 0, 0)]])
    with pytest.raises(UserError, match=r"b\.png: is a color mask, but .*a\.png is an index mask"):
        folder(tmp_path, "train")
    (tmp_path / "classes.yml").write_text(
        "classes: [{name: x, color: [0, 0, 0]}, {name: y, id: 1, color: [9, 9, 9]}]\nvoid: 255"
    )
    assert sorted(masks_of(folder(tmp_path, "train")) + masks_of(folder(tmp_path, "val"))) == [[[0, 1]], [[1, 0]]]


def test_classes_yaml_defines_the_classes(tmp_path: Path) -> None:
    add(tmp_path, "a", [[(9, 9, 9), (1, 2, 3), (0, 0, 0)]])
    table = tmp_path / "classes.yaml"
    table.write_text("classes: [{name: x, color: [9, 9, 9]}]\nvoid_colors: [[0, 0, 0]]")
    with pytest.raises(UserError, match=r"a\.png: mask values not in the label table: color \(1, 2, 3\) \(1 px\)"):
        folder(tmp_path, "train")[0]
    table.write_text("classes: [{name: x, color: [9, 9, 9]}]\nvoid_colors: [[0, 0, 0], [1, 2, 3]]")
    assert masks_of(folder(tmp_path, "train")) == [[[0, 255, 255]]]
    table.write_text("classes: 3")
    with pytest.raises(UserError, match=r"classes\.yaml: not a label table"):
        folder(tmp_path, "train")


def test_unreadable_masks_are_all_named(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        add(tmp_path, name, [[0, 1]])
    for name in ("a", "b"):
        (tmp_path / "masks" / f"{name}.png").write_bytes(b"nothing")
    with pytest.raises(FaultyDataError) as caught:
        folder(tmp_path, "train")
    assert [fault.split(":")[0][-5:] for fault in caught.value.faults] == ["a.png", "b.png"]


def test_a_mask_that_is_a_broken_link_is_named(tmp_path: Path) -> None:
    add(tmp_path, "a", [[0, 1]])
    add(tmp_path, "b", None)
    (tmp_path / "masks" / "b.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"b\.png: no such file"):
        folder(tmp_path, "train")


def test_changed_masks_are_read_again(tmp_path: Path) -> None:
    add(tmp_path, "a", [[0, 1]])
    assert len(folder(tmp_path, "train").labels) == 2
    add(tmp_path, "a", [[0, 1, 2]])
    assert len(folder(tmp_path, "train").labels) == 3


def test_nothing_is_written(tmp_path: Path) -> None:
    add(tmp_path, "a", [[0, 1]])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    folder(tmp_path, "train")[0]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
