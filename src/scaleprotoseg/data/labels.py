"""Label tables: which classes there are, their colours, and which raw mask values mean them."""

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
"""Train id of pixels that no loss, metric or projection looks at."""

Color = tuple[int, int, int]
_T = TypeVar("_T", bound=Hashable)

INDEX_LIMIT = 1 << 24
"""Mask indices are below this number; packed colours start at it, so that the two never meet in one lookup."""


@dataclass(frozen=True)
class LabelTable:
    """The classes of a data set, in the order of their train ids.

    Attributes:
        names: Class names; position = train id. At most 255 classes.
        colors: One (red, green, blue) in 0-255 per class, all different, for colour-coded masks and figures.
        raw_ids: The mask values that mean each class (several raw values may share a class).
        void_ids: Mask values that mean "unlabelled".
        void_colors: Colours that mean "unlabelled" in colour-coded masks.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...]
    raw_ids: tuple[tuple[int, ...], ...]
    void_ids: frozenset[int] = frozenset({VOID})
    void_colors: frozenset[Color] = frozenset()

    def __post_init__(self) -> None:
        if not self.names:
            raise UserError("label table: no classes; name at least one class")
        if len(self.names) > VOID:
            raise UserError(f"label table: {len(self.names)} classes; at most {VOID} are supported, merge some")
        if not len(self.names) == len(self.colors) == len(self.raw_ids):
            raise UserError("label table: every class needs one name, one colour and its raw ids")
        if name := _repeated(self.names):
            raise UserError(f"label table: class name {name[0]!r} occurs twice; names must differ")
        known = [raw for ids in self.raw_ids for raw in ids] + list(self.void_ids)
        if raw := _repeated(known):
            raise UserError(f"label table: raw id {raw[0]} is given twice; each mask value means one class or void")
        if raw := [raw for raw in known if not 0 <= raw < INDEX_LIMIT]:
            raise UserError(f"label table: raw id {raw[0]} cannot occur in a mask; ids are 0 to {INDEX_LIMIT - 1}")
        if color := _repeated([*self.colors, *self.void_colors]):
            raise UserError(f"label table: colour {color[0]} is given twice; each colour means one class or void")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _lookup(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        """All known mask values (indices and packed colours), sorted, and the train id of each."""
        meaning = {raw: train for train, ids in enumerate(self.raw_ids) for raw in ids}
        meaning |= dict.fromkeys(self.void_ids, VOID)
        packed = pack_colors(np.array([*self.colors, *self.void_colors], dtype=np.uint8)).tolist()
        trains = [*range(len(self)), *[VOID] * len(self.void_colors)]
        meaning |= dict(zip(packed, trains, strict=True))
        known = sorted(meaning)
        return np.array(known, dtype=np.int64), np.array([meaning[raw] for raw in known], dtype=np.uint8)

    @cached_property
    def _short_lookup(self) -> npt.NDArray[np.int16]:
        """The train id of every 16-bit mask value, -1 where unknown: far quicker than searching, for most masks."""
        known, train = self._lookup
        lookup = np.full(1 << 16, -1, dtype=np.int16)
        short = known < len(lookup)
        lookup[known[short]] = train[short]
        return lookup

    def unknown(self, raw: npt.NDArray[np.integer[Any]]) -> dict[int, int]:
        """Mask values that the table does not know, sorted, and the number of pixels that hold each."""
        values, counts = np.unique(raw, return_counts=True)
        strange = ~np.isin(values, self._lookup[0])
        return dict(zip(values[strange].tolist(), counts[strange].tolist(), strict=True))

    def to_train_ids(self, raw: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
        """Translates raw mask values to train ids.

        Args:
            raw: Mask of any shape with raw values, or with colours as :func:`pack_colors` writes them.

        Returns:
            Train ids of the same shape: 0 to C - 1, or ``VOID``.

        Raises:
            UserError: If a value is neither a class nor void.
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
                "correct the mask, or add them to the table as classes or as void"
            )
        return found.astype(np.uint8)

    def palette(self) -> npt.NDArray[np.uint8]:
        """A (256, 3) palette: class colours at their train ids, black elsewhere."""
        table = np.zeros((256, 3), dtype=np.uint8)
        table[: len(self)] = self.colors
        return table

    def to_json(self) -> dict[str, Any]:
        """Plain data that :meth:`from_json` reads back."""
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
        """Reads ``{"classes": [{"name", "color", "id"}, ...], "void": [...], "void_colors": [...]}``.

        A class may also be its name alone. ``id`` is one mask value or a list of them; without it, the position
        counts. Without ``color``, a class gets one that no other has. ``void`` is one value or a list, 255 when
        absent and not the id of a class. ``void_colors`` lists the colours that mean "unlabelled" in colour-coded
        masks, none when absent.

        Args:
            table: The plain data.
            origin: The file it came from, for error messages.

        Raises:
            UserError: If an entry is missing or malformed.
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
    """The label table that comes with the package for a known data set."""
    return LabelTable.from_json(packaged_yaml(name), f"{name}.yaml")


def packaged_yaml(name: str) -> Any:
    """The content of one of the tables that come with the package."""
    source = files("scaleprotoseg.data") / "tables" / f"{name}.yaml"
    return yaml.safe_load(source.read_text(encoding="utf-8"))


def named_table(name_or_file: str) -> LabelTable:
    """The label table of a known data set, or of a person's ``classes.yaml``.

    Raises:
        UserError: If it is neither, or not a label table.
    """
    tables = files("scaleprotoseg.data") / "tables"
    known = sorted(table.name.removesuffix(".yaml") for table in tables.iterdir() if table.name.endswith(".yaml"))
    if name_or_file in known:
        return packaged_table(name_or_file)
    if not Path(name_or_file).is_file():
        raise UserError(
            f"{name_or_file}: neither a file nor one of {', '.join(known)}; name the classes by one of them"
        )
    return read_table(Path(name_or_file))


def read_table(path: Path) -> LabelTable:
    """Reads a label table from a person's ``classes.yaml``.

    Raises:
        UserError: If the file is not a YAML label table.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML ({first_line(error)}); mend the file") from error
    return LabelTable.from_json(content, str(path))


def pack_colors(colors: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Turns (..., 3) red, green, blue into (...) integers that a label table knows apart from mask indices."""
    red, green, blue = (colors[..., channel].astype(np.int32) for channel in range(3))
    return np.asarray(INDEX_LIMIT | red << 16 | green << 8 | blue, dtype=np.int32)


def unpack_color(value: int) -> Color | None:
    """The colour that :func:`pack_colors` turned into ``value``, or None if ``value`` is a plain mask index."""
    if value < INDEX_LIMIT:
        return None
    return value >> 16 & 255, value >> 8 & 255, value & 255


def describe_value(value: int) -> str:
    """A raw mask value for people: ``7``, or ``colour (255, 0, 0)``."""
    color = unpack_color(value)
    return str(value) if color is None else f"colour {color}"


def distinct_color(index: int) -> Color:
    """A colour for class ``index`` that differs from its neighbours' (the bit-interleaved VOC colour map)."""
    red = green = blue = 0
    value = index + 1
    for bit in range(7, -1, -1):
        red |= (value & 1) << bit
        green |= (value >> 1 & 1) << bit
        blue |= (value >> 2 & 1) << bit
        value >>= 3
    return red, green, blue


def _repeated(values: Sequence[_T]) -> list[_T]:
    """Those that occur more than once."""
    return [value for value, times in Counter(values).items() if times > 1]


def _name(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise ValueError(f"{value!r} is no class name; put it in quotes")
    return str(value)


def _color(value: Any) -> Color:
    channels = _integers(value)
    if len(channels) != 3 or not all(0 <= channel <= 255 for channel in channels):
        raise ValueError(f"{value!r} is no colour of three numbers in 0-255")
    return channels[0], channels[1], channels[2]


def _integers(value: Any) -> tuple[int, ...]:
    items = value if isinstance(value, (list, tuple)) else [value]
    if any(isinstance(item, bool) or not isinstance(item, int) for item in items):
        raise ValueError(f"{value!r} is not a whole number or a list of them")
    return tuple(items)
