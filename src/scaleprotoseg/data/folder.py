"""A person's own folder: ``images/`` and ``masks/`` with files of the same names.

Its classes are those of ``classes.yaml`` in the folder, or else what the masks hold. Its splits are the lists
``splits/train.txt``, ``splits/val.txt`` and ``splits/test.txt``, or else one image in five is for validation.
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
from scaleprotoseg.data.images import IMAGE_SUFFIXES, read_mask_with_palette
from scaleprotoseg.data.labels import VOID, Color, LabelTable, distinct_color, read_table, unpack_color
from scaleprotoseg.errors import UserError

VAL_SHARE = 0.2
"""Share of the images that are for validation when no lists say otherwise."""

MAX_FOUND_COLORS = 64
"""With more colours, colour-coded masks are taken to be blurred; ``classes.yaml`` must say which ones count."""

MAX_FOUND_INDICES = 200
"""With more values, index masks are taken to be grey pictures; ``classes.yaml`` must say which ones count."""


def folder(root: Path, split: str) -> PairedFiles:
    """Opens one split of a person's own folder.

    Pictures and masks may lie in sub-folders; what they share is the path without the ending. Pictures that
    ``splits/test.txt`` lists need no mask.

    Without ``classes.yaml`` every value of the index masks, or every colour of the colour-coded masks, is a class,
    the same in every split. The value 255 means "unlabelled", unless the masks hold only 0 and 255: then these are
    background and foreground. Colours have no such exception: black is a class too.

    Args:
        root: The folder that holds ``images/`` and ``masks/``.
        split: One of :func:`folder_splits`.

    Raises:
        UserError: If folders, lists, files or classes are missing or do not fit together.
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
        names = _drawn_split(pairing.pairs, split)
        faults += [*pairing.unlabelled.values(), *pairing.orphans]
        if len(pairing.pairs) == 1 and split == "val":
            faults.append(f"{root / 'images'}: a single image leaves none for validation; add more")
    pairs = [pairing.pairs[name] for name in names]
    labels, label_faults = _labels(root, pairing.pairs.values())
    faults += label_faults
    if labels is None:
        raise FaultyDataError(faults, None)
    usable = [pair for pair in pairs if pair.mask is not None or split == "test"]
    return whole_or_error(PairedFiles(str(root), split, usable, labels), faults)


def folder_splits(root: Path) -> tuple[str, ...]:
    """The splits of a person's own folder: those with a list, or ``train`` and ``val`` without any list."""
    return tuple(_list_files(root)) or ("train", "val")


def _list_files(root: Path) -> dict[str, Path]:
    lists = {split: root / "splits" / f"{split}.txt" for split in ("train", "val", "test")}
    return {split: path for split, path in lists.items() if path.is_file()}


def _read_list(path: Path, known: Mapping[str, Pair]) -> tuple[list[str], list[str]]:
    """The image names that a list holds, and what is wrong with its lines."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        return [], [f"{path}: cannot be read as UTF-8 text ({error}); save it again"]
    names: dict[str, None] = {}
    faults = []
    for number, line in enumerate(lines, start=1):
        name = next((name for name in _spellings(line) if name in known), None)
        if name is None:
            # Only now may "#" open a comment: a file may be called "#1.jpg".
            if line.strip() and not line.lstrip().startswith("#"):
                faults.append(f"{path}, line {number}: no image is called {line.strip()!r}; correct or remove the line")
        elif name in names:
            faults.append(f"{path}, line {number}: {name!r} is listed twice; remove the line")
        else:
            names[name] = None
    return list(names), faults


def _spellings(line: str) -> Iterable[str]:
    """What a line of a list may mean, the most literal first: with its spaces, and with its ending."""
    for text in (normal_name(line), normal_name(line).strip()):
        yield text
        stem, dot, ending = text.rpartition(".")
        if dot and f".{ending.lower()}" in IMAGE_SUFFIXES:
            yield stem


def _drawn_split(names: Iterable[str], split: str) -> list[str]:
    """Draws by the hash of each name: the same on every machine, and few images change sides when some are added."""
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode(errors="surrogateescape")).digest())
    val = max(1, round(VAL_SHARE * len(ordered))) if len(ordered) > 1 else 0
    return sorted(ordered[:val] if split == "val" else ordered[val:])


def _labels(root: Path, pairs: Iterable[Pair]) -> tuple[LabelTable | None, tuple[str, ...]]:
    """The label table of ``classes.yaml`` or else of the masks; None if there is none, and what is wrong."""
    written = next((path for path in (root / "classes.yaml", root / "classes.yml") if path.is_file()), None)
    if written is not None:
        try:
            return read_table(written), ()
        except UserError as error:
            return None, (str(error),)
    masks = tuple((pair.mask, *_stamp(pair.mask)) for pair in pairs if pair.mask is not None)
    table, faults = _found_labels(masks)
    if table is None and not faults:
        return None, (
            f"{root / 'masks'}: no mask holds a labelled pixel; label some, or write {root / 'classes.yaml'}",
        )
    return table, faults


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of a file: while they stay, what was found in it still holds."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=8)
def _found_labels(masks: tuple[tuple[Path, int, int], ...]) -> tuple[LabelTable | None, tuple[str, ...]]:
    """Looks at all masks, once per process as long as they do not change."""
    paths = [path for path, *_ in masks]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        looks = list(pool.map(_values, paths))
    faults = []
    first: dict[int, tuple[Path, Color | None]] = {}
    for path, look in zip(paths, looks, strict=True):
        if isinstance(look, str):
            faults.append(look)
            continue
        for value, color in look.items():
            before, expected = first.setdefault(value, (path, color))
            if color != expected:
                faults.append(
                    f"{path}: its palette gives index {value} another colour than {before}; "
                    "save the masks in colour, or write classes.yaml if the index means one class all the same"
                )
                break
    colored = {value: path for value, (path, _) in first.items() if unpack_color(value) is not None}
    indexed = {value: path for value, (path, _) in first.items() if value not in colored}
    if colored and indexed:
        one, other = next(iter(colored.values())), next(iter(indexed.values()))
        faults.append(
            f"{one}: a colour mask, but {other} is an index mask; save all masks one way or write classes.yaml"
        )
    elif len(colored) > MAX_FOUND_COLORS or len(indexed) > MAX_FOUND_INDICES:
        faults.append(
            f"{paths[0].parent}: the masks hold {len(first)} different values, too many to be classes; "
            "write classes.yaml with those that count, and check that the masks are not blurred"
        )
    elif colored:
        return _color_table(sorted(colored)), tuple(faults)
    elif first:
        return _index_table({value: first[value][1] for value in sorted(first)}), tuple(faults)
    return None, tuple(faults)


def _values(path: Path) -> dict[int, Color | None] | str:
    """The values of a mask with the colours its palette gives them, or why it cannot be read."""
    try:
        raw, palette = read_mask_with_palette(path)
    except UserError as error:
        return str(error)
    values = np.unique(raw, return_counts=True)[0].tolist()  # Counting sorts, which is quicker than hashing here.
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
