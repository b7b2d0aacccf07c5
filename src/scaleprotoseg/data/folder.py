"""Custom folders with the user's own data: ``images/`` and ``masks/`` with files of the same names.

The classes are those of ``classes.yaml`` in the folder or, without this file, the values found in the masks. The splits
are listed in ``splits/train.txt``, ``splits/val.txt`` and ``splits/test.txt``; without lists, one image in five is used
for validation.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np

from scaleprotoseg.data.files import FaultyDataError, Pair, PairedFiles, normal_name, pair_folders, whole_or_error
from scaleprotoseg.data.images import read_mask_with_palette
from scaleprotoseg.data.labels import VOID, Color, LabelTable, distinct_color, read_table, unpack_color
from scaleprotoseg.data.pixels import IMAGE_SUFFIXES
from scaleprotoseg.errors import UserError

VAL_FRACTION = 0.2
"""Fraction of the images that are used for validation if the folder has no lists."""

MAX_FOUND_COLORS = 64
"""Largest number of colors that become classes without ``classes.yaml``; masks with more are probably blurred."""

MAX_FOUND_INDICES = 200
"""Largest number of indices that become classes without ``classes.yaml``; masks with more are probably gray images."""


def folder(root: Path, split: str) -> PairedFiles:
    """Open one split of a custom folder.

    Images and masks may lie in sub-folders; an image and its mask have the same path apart from the extension. Images
    that are listed in ``splits/test.txt`` need no mask.

    Without ``classes.yaml``, every value of the index masks, or every color of the color masks, is a class, and all
    splits have the same classes. The value 255 means "unlabeled", unless the masks hold only 0 and 255, which are then
    background and foreground. Colors have no such exception: black is a class as well.

    Args:
        root: Folder that holds ``images/`` and ``masks/``.
        split: One of :func:`folder_splits`.

    Raises:
        UserError: If folders, lists, files or classes are missing or do not match.
    """
    lists = _list_files(root)
    if split not in folder_splits(root):
        raise UserError(f"{root}: has no split {split!r}; list its image names in {root / 'splits' / split}.txt")
    pairing = pair_folders(root / "images", root / "masks")
    faults = list(pairing.faults)
    if lists:
        names, list_faults = _read_list(lists[split], pairing.pairs)
        faults += list_faults
        if split != "test":
            faults += [pairing.unlabelled[name] for name in names if name in pairing.unlabelled]
    else:
        names = hashed_split(pairing.pairs, split)
        faults += [*pairing.unlabelled.values(), *pairing.orphans]
        if len(pairing.pairs) == 1 and split == "val":
            faults.append(f"{root / 'images'}: a single image leaves none for validation; add more images")
    pairs = [pairing.pairs[name] for name in names]
    labels, label_faults = _find_labels(root, pairing.pairs.values())
    faults += label_faults
    if labels is None:
        raise FaultyDataError(faults, None)
    usable = [pair for pair in pairs if pair.mask is not None or split == "test"]
    return whole_or_error(PairedFiles(str(root), split, usable, labels), faults)


def folder_splits(root: Path) -> tuple[str, ...]:
    """Return the splits of a custom folder: those with a list, or ``train`` and ``val`` if it has no lists."""
    return tuple(_list_files(root)) or ("train", "val")


def _list_files(root: Path) -> dict[str, Path]:
    lists = {split: root / "splits" / f"{split}.txt" for split in ("train", "val", "test")}
    return {split: path for split, path in lists.items() if path.is_file()}


def _read_list(path: Path, known: Mapping[str, Pair]) -> tuple[list[str], list[str]]:
    """Return the image names in a list, and the faults of its lines."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        return [], [f"{path}: cannot be read as UTF-8 text ({error}); save it again"]
    names: dict[str, None] = {}
    faults = []
    for number, line in enumerate(lines, start=1):
        name = next((name for name in _spellings(line) if name in known), None)
        if name is None:
            # Comments are recognized only now, since an image may be called "#1.jpg".
            if line.strip() and not line.lstrip().startswith("#"):
                faults.append(f"{path}, line {number}: no image is called {line.strip()!r}; correct or remove the line")
        elif name in names:
            faults.append(f"{path}, line {number}: {name!r} is listed twice; remove the line")
        else:
            names[name] = None
    return list(names), faults


def _spellings(line: str) -> Iterable[str]:
    """Yield the names that a line may stand for, most literal first: spaces and extension may belong to the name."""
    for text in (normal_name(line), normal_name(line).strip()):
        yield text
        stem, dot, extension = text.rpartition(".")
        if dot and f".{extension.lower()}" in IMAGE_SUFFIXES:
            yield stem


def hashed_split(names: Iterable[str], split: str) -> list[str]:
    """Split by a hash of the names: equal on every machine, and added images move few others to the other split."""
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode(errors="surrogateescape")).digest())
    val = max(1, round(VAL_FRACTION * len(ordered))) if len(ordered) > 1 else 0
    return sorted(ordered[:val] if split == "val" else ordered[val:])


def _find_labels(root: Path, pairs: Iterable[Pair]) -> tuple[LabelTable | None, tuple[str, ...]]:
    """Return the label table of ``classes.yaml`` or else of the masks (None if there is none), and all faults."""
    written = next((path for path in (root / "classes.yaml", root / "classes.yml") if path.is_file()), None)
    if written is not None:
        try:
            return read_table(written), ()
        except UserError as error:
            return None, (str(error),)
    masks = tuple((pair.mask, *_stamp(pair.mask)) for pair in pairs if pair.mask is not None)
    table, faults = _labels_from_masks(masks)
    if table is None and not faults:
        return None, (
            f"{root / 'masks'}: no mask holds a labeled pixel; label some pixels, or write {root / 'classes.yaml'}",
        )
    return table, faults


def _stamp(path: Path) -> tuple[int, int]:
    """Return size and modification time of a file; while both are unchanged, cached results remain valid."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=8)
def _labels_from_masks(masks: tuple[tuple[Path, int, int], ...]) -> tuple[LabelTable | None, tuple[str, ...]]:
    """Derive a label table from the values of all masks; cached per process while the files do not change."""
    paths = [path for path, *_ in masks]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        contents = list(pool.map(_mask_values, paths))
    faults = []
    first: dict[int, tuple[Path, Color | None]] = {}
    for path, content in zip(paths, contents, strict=True):
        if isinstance(content, str):
            faults.append(content)
            continue
        for value, color in content.items():
            before, expected = first.setdefault(value, (path, color))
            if color != expected:
                faults.append(
                    f"{path}: its palette gives index {value} another color than {before}; "
                    "save the masks as color images, or write classes.yaml if the index means the same class in all"
                )
                break
    colored = {value: path for value, (path, _) in first.items() if unpack_color(value) is not None}
    indexed = {value: path for value, (path, _) in first.items() if value not in colored}
    if colored and indexed:
        one, other = next(iter(colored.values())), next(iter(indexed.values()))
        faults.append(
            f"{one}: is a color mask, but {other} is an index mask; "
            "save all masks in the same way or write classes.yaml"
        )
    elif len(colored) > MAX_FOUND_COLORS or len(indexed) > MAX_FOUND_INDICES:
        faults.append(
            f"{paths[0].parent}: the masks hold {len(first)} different values, too many to be classes; "
            "list the values of the classes in classes.yaml, and check that the masks are not blurred"
        )
    elif colored:
        return _color_table(sorted(colored)), tuple(faults)
    elif first:
        return _index_table({value: first[value][1] for value in sorted(first)}), tuple(faults)
    return None, tuple(faults)


def _mask_values(path: Path) -> dict[int, Color | None] | str:
    """Return the values of a mask with their palette colors, or the error message if it cannot be read."""
    try:
        raw, palette = read_mask_with_palette(path)
    except UserError as error:
        return str(error)
    # With counts, NumPy finds the values by sorting, which is faster here than hashing.
    values = np.unique(raw, return_counts=True)[0].tolist()
    return {value: palette[value] if value < len(palette) else None for value in values}


def _color_table(packed: list[int]) -> LabelTable:
    names = tuple(f"class {position}" for position in range(len(packed)))
    colors = tuple(color for value in packed if (color := unpack_color(value)) is not None)
    return LabelTable(names, colors, raw_ids=((),) * len(packed), void_ids=frozenset())


def _index_table(palette: dict[int, Color | None]) -> LabelTable | None:
    if list(palette) == [0, VOID]:
        names: tuple[str, ...] = ("background", "foreground")
        values, void_ids = [0, VOID], frozenset[int]()
    else:
        values, void_ids = [value for value in palette if value != VOID], frozenset({VOID})
        names = tuple(f"class {value}" for value in values)
    if not values:
        return None
    painted = [color for value in values if (color := palette[value]) is not None]
    if len(set(painted)) < len(values):
        painted = [distinct_color(position) for position in range(len(values))]
    return LabelTable(names, tuple(painted), tuple((value,) for value in values), void_ids)
