"""Label tables: the classes of a data set, their colors, and the raw mask values that represent them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import yaml

from scaleprotoseg.errors import UserError, first_line

VOID = 255
"""Train id of unlabeled pixels, which every loss, metric and projection ignores."""

Color = tuple[int, int, int]
_T = TypeVar("_T", bound=Hashable)

INDEX_LIMIT = 1 << 24
"""Upper bound (exclusive) of mask indices and smallest packed color, so that one lookup can hold both."""


@dataclass(frozen=True)
class LabelTable:
    """The classes of a data set, in the order of their train ids.

    Attributes:
        names: Class names; the train id is the position. At most 255 classes.
        colors: One (red, green, blue) in 0-255 per class, all different, for color masks and figures.
        raw_ids: Mask values of each class, of which there may be several.
        void_ids: Mask values that mean "unlabeled".
        void_colors: Colors that mean "unlabeled" in color masks.

    Raises:
        UserError: If there are no classes or more than 255, if an entry is missing or occurs twice, or if a mask value
            is out of range.

    Example:
        >>> LabelTable(("road", "car"), ((128, 64, 128), (0, 0, 142)), ((0,), (1, 2)))
        LabelTable(2 classes: road, car)
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...]
    raw_ids: tuple[tuple[int, ...], ...]
    void_ids: frozenset[int] = frozenset({VOID})
    void_colors: frozenset[Color] = frozenset()

    def __post_init__(self) -> None:
        if not self.names:
            raise UserError("label table: has no classes; name at least one class")
        if len(self.names) > VOID:
            raise UserError(f"label table: has {len(self.names)} classes, at most {VOID} are supported; merge some")
        if not len(self.names) == len(self.colors) == len(self.raw_ids):
            raise UserError("label table: names, colors and raw ids differ in number; give each class one of each")
        if name := _repeated(self.names):
            raise UserError(f"label table: class name {name[0]!r} occurs twice; names must differ")
        known = [raw for ids in self.raw_ids for raw in ids] + list(self.void_ids)
        if raw := _repeated(known):
            raise UserError(f"label table: raw id {raw[0]} occurs twice; give each mask value to one class or to void")
        if raw := [raw for raw in known if not 0 <= raw < INDEX_LIMIT]:
            raise UserError(f"label table: raw id {raw[0]} cannot occur in a mask; use 0 to {INDEX_LIMIT - 1}")
        if color := _repeated([*self.colors, *self.void_colors]):
            raise UserError(f"label table: color {color[0]} occurs twice; give each color to one class or to void")

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        shown = [*self.names[:3], "..."] if len(self) > 3 else self.names
        return f"LabelTable({len(self)} class{'' if len(self) == 1 else 'es'}: {', '.join(shown)})"

    @cached_property
    def _lookup(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        """All known mask values (indices and packed colors), sorted, and the train id of each."""
        meaning = {raw: train for train, ids in enumerate(self.raw_ids) for raw in ids}
        meaning |= dict.fromkeys(self.void_ids, VOID)
        packed = pack_colors(np.array([*self.colors, *self.void_colors], dtype=np.uint8)).tolist()
        trains = [*range(len(self)), *[VOID] * len(self.void_colors)]
        meaning |= dict(zip(packed, trains, strict=True))
        known = sorted(meaning)
        return np.array(known, dtype=np.int64), np.array([meaning[raw] for raw in known], dtype=np.uint8)

    @cached_property
    def _short_lookup(self) -> npt.NDArray[np.int16]:
        """Train id of every 16-bit mask value, -1 where unknown; for most masks much faster than searching."""
        known, train = self._lookup
        lookup = np.full(1 << 16, -1, dtype=np.int16)
        short = known < len(lookup)
        lookup[known[short]] = train[short]
        return lookup

    def unknown(self, raw: npt.NDArray[np.integer[Any]]) -> dict[int, int]:
        """Count the pixels whose mask values are not in the table.

        Args:
            raw: Mask of any shape, with raw values or packed colors.

        Returns:
            Number of pixels of each unknown value, sorted by value.

        Example:
            >>> LabelTable.from_json({"classes": ["road", "car"]}).unknown(np.array([0, 1, 7, 7, 255]))
            {7: 2}
        """
        values, counts = np.unique(raw, return_counts=True)
        unknown = ~np.isin(values, self._lookup[0])
        return dict(zip(values[unknown].tolist(), counts[unknown].tolist(), strict=True))

    def to_train_ids(self, raw: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
        """Convert raw mask values to train ids.

        Args:
            raw: Mask of any shape, with raw values or with colors packed by :func:`pack_colors`.

        Returns:
            Train ids of the same shape, from 0 to C - 1 for C classes, or ``VOID``.

        Raises:
            UserError: If a value belongs neither to a class nor to void.

        Example:
            >>> table = LabelTable.from_json({"classes": ["road", {"name": "car", "id": [5, 6]}]})
            >>> table.to_train_ids(np.array([[0, 5], [6, 255]]))
            array([[  0,   1],
                   [  1, 255]], dtype=uint8)
        """
        if raw.dtype in (np.uint8, np.uint16):
            found: npt.NDArray[np.int16] = self._short_lookup[raw]
        else:
            known, train = self._lookup
            position = np.searchsorted(known, raw).clip(max=len(known) - 1)
            found = np.where(known[position] == raw, train[position].astype(np.int16), -1)
        if found.min(initial=0) < 0:
            unknown = self.unknown(raw)
            shown = [f"{describe_value(value)} ({number} px)" for value, number in list(unknown.items())[:8]]
            more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
            raise UserError(
                f"mask values not in the label table: {', '.join(shown)}{more}; "
                "correct the mask, or add the values to the table as classes or as void"
            )
        return found.astype(np.uint8)

    def palette(self) -> npt.NDArray[np.uint8]:
        """Return a (256, 3) palette with the class colors at their train ids and black elsewhere.

        Example:
            >>> table = LabelTable.from_json({"classes": [{"name": "road", "color": [128, 64, 128]}]})
            >>> table.palette()[0].tolist()
            [128, 64, 128]
        """
        table = np.zeros((256, 3), dtype=np.uint8)
        table[: len(self)] = self.colors
        return table

    def to_json(self) -> dict[str, Any]:
        """Convert the table to plain data, from which :meth:`from_json` restores it.

        Example:
            >>> LabelTable(("road",), ((128, 64, 128),), ((0,),)).to_json()
            {'classes': [{'name': 'road', 'color': [128, 64, 128], 'id': [0]}], 'void': [255]}
        """
        classes = [
            {"name": name, "color": list(color), "id": list(ids)}
            for name, color, ids in zip(self.names, self.colors, self.raw_ids, strict=True)
        ]
        table: dict[str, Any] = {"classes": classes, "void": sorted(self.void_ids)}
        if self.void_colors:
            table["void_colors"] = [list(color) for color in sorted(self.void_colors)]
        return table

    @classmethod
    def from_json(cls, table: dict[str, Any], origin: str = "label table") -> LabelTable:
        """Build a table from ``{"classes": [{"name", "color", "id"}, ...], "void": [...], "void_colors": [...]}``.

        A class may be given by its name alone. ``id`` is one mask value or a list of them, by default the position of
        the class. A class without ``color`` gets a color that no other class has. ``void`` is one mask value or a list
        of them, by default 255 unless this is the id of a class. ``void_colors`` lists the colors that mean
        "unlabeled" in color masks, by default none.

        Args:
            table: Plain data, as read from YAML or JSON.
            origin: File that the data comes from, for error messages.

        Raises:
            UserError: If an entry is missing or malformed.

        Example:
            >>> table = LabelTable.from_json({"classes": ["sky", "road", {"name": "car", "id": [2, 3]}], "void": 9})
            >>> table
            LabelTable(3 classes: sky, road, car)
            >>> table.raw_ids
            ((0,), (1,), (2, 3))
        """
        try:
            if not isinstance(table, dict) or not isinstance(table["classes"], list):
                raise TypeError("it has no list of classes")
            classes = [entry if isinstance(entry, dict) else {"name": entry} for entry in table["classes"]]
            names = tuple(_name(entry["name"]) for entry in classes)
            given = [_color(entry["color"]) if "color" in entry else None for entry in classes]
            void_colors = frozenset(_color(color) for color in table.get("void_colors", ()))
            taken = {color for color in given if color is not None} | void_colors
            free = (color for color in map(distinct_color, count()) if color not in taken)
            colors = tuple(color if color is not None else next(free) for color in given)
            raw_ids = tuple(_integers(entry.get("id", index)) for index, entry in enumerate(classes))
            used = {raw for ids in raw_ids for raw in ids}
            void_ids = frozenset(_integers(table["void"]) if "void" in table else {VOID} - used)
        except KeyError as error:
            raise UserError(f"{origin}: not a label table (no {error}); {_EXAMPLE}") from error
        except (TypeError, ValueError) as error:
            raise UserError(f"{origin}: not a label table ({error}); {_EXAMPLE}") from error
        try:
            return cls(names, colors, raw_ids, void_ids, void_colors)
        except UserError as error:
            raise UserError(f"{origin}: {error}") from error


_EXAMPLE = "write 'classes: [{name: road, color: [128, 64, 128], id: 0}, ...]' and 'void: [255]'"


def packaged_table(name: str) -> LabelTable:
    """Return the label table of a data set known by name, which is part of the package."""
    return LabelTable.from_json(packaged_yaml(name), f"{name}.yaml")


def packaged_yaml(name: str) -> Any:
    """Return the content of one of the YAML tables in the package."""
    source = files("scaleprotoseg.data") / "tables" / f"{name}.yaml"
    return yaml.safe_load(source.read_text(encoding="utf-8"))


def named_table(name_or_file: str) -> LabelTable:
    """Return the label table of a data set known by name, or read one from a file such as ``classes.yaml``.

    Raises:
        UserError: If there is no such name or file, or the file is not a label table.
    """
    tables = files("scaleprotoseg.data") / "tables"
    known = sorted(table.name.removesuffix(".yaml") for table in tables.iterdir() if table.name.endswith(".yaml"))
    if name_or_file in known:
        return packaged_table(name_or_file)
    if not Path(name_or_file).is_file():
        raise UserError(f"{name_or_file}: neither a file nor one of {', '.join(known)}; give one of these")
    return read_table(Path(name_or_file))


def read_table(path: Path) -> LabelTable:
    """Read a label table from a file such as ``classes.yaml``.

    Raises:
        UserError: If the file is not a YAML label table.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML ({first_line(error)}); correct the file") from error
    return LabelTable.from_json(content, str(path))


def pack_colors(colors: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Pack (..., 3) red, green, blue into (...) integers, which a label table can distinguish from mask indices."""
    red, green, blue = (colors[..., channel].astype(np.int32) for channel in range(3))
    return np.asarray(INDEX_LIMIT | red << 16 | green << 8 | blue, dtype=np.int32)


def unpack_color(value: int) -> Color | None:
    """Return the color that :func:`pack_colors` has packed into a value, or None if the value is a mask index."""
    if value < INDEX_LIMIT:
        return None
    return value >> 16 & 255, value >> 8 & 255, value & 255


def describe_value(value: int) -> str:
    """Format a raw mask value for messages, such as ``7`` or ``color (255, 0, 0)``."""
    color = unpack_color(value)
    return str(value) if color is None else f"color {color}"


def distinct_color(index: int) -> Color:
    """Return entry ``index + 1`` of the color map of Pascal VOC, whose 256 colors all differ; 0 <= index < 255."""
    red = green = blue = 0
    value = index + 1
    for bit in range(7, -1, -1):
        red |= (value & 1) << bit
        green |= (value >> 1 & 1) << bit
        blue |= (value >> 2 & 1) << bit
        value >>= 3
    return red, green, blue


def _repeated(values: Sequence[_T]) -> list[_T]:
    """Return the values that occur more than once."""
    return [value for value, times in Counter(values).items() if times > 1]


def _name(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise ValueError(f"{value!r} is not a class name, put it in quotes")
    return str(value)


def _color(value: Any) -> Color:
    channels = _integers(value)
    if len(channels) != 3 or not all(0 <= channel <= 255 for channel in channels):
        raise ValueError(f"{value!r} is not a color of three numbers in 0-255")
    return channels[0], channels[1], channels[2]


def _integers(value: Any) -> tuple[int, ...]:
    items = value if isinstance(value, (list, tuple)) else [value]
    if any(isinstance(item, bool) or not isinstance(item, int) for item in items):
        raise ValueError(f"{value!r} is not a whole number or a list of them")
    return tuple(items)
