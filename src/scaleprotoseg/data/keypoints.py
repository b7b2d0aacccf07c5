"""Object parts as points: a JSON file with the positions of eyes, knees or wheels of the objects in each image."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scaleprotoseg.data.dataset import Keypoint, PartTable
from scaleprotoseg.data.files import PartLabels
from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.errors import UserError

_EXAMPLE = (
    'write {"names": ["nose", ...], "images": '
    '{"IMAGE NAME": [{"class": "dog", "keypoints": {"nose": [X, Y], ...}}, ...], ...}}'
)

MAX_PARTS = 255
"""Largest number of parts in an 8-bit mask, in which 0 means "no part"."""


class Keypoints:
    """Named points on objects, as a :class:`~scaleprotoseg.data.files.PartSource`.

    A part is identified by name and class: the noses of dogs and of cats are different parts.

    Args:
        path: JSON file ``{"names": [...], "images": {image name: [{"class": ..., "keypoints": {name: [x, y]}}, ...]}}``
            with all part names, and x and y in pixels from the upper left corner. Other keys of an object, such as a
            box, are ignored.
        labels: Table of the classes.

    Raises:
        UserError: If the file cannot be read, has another structure, names an unknown class or part, or has more than
            255 parts.
    """

    def __init__(self, path: Path, labels: LabelTable) -> None:
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError as error:
            raise UserError(f"{path}: no such file; check the path given for the parts") from error
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as JSON ({error}); {_EXAMPLE}") from error
        try:
            names = [_text(name) for name in content["names"]]
            points = {image: list(_points(objects, image)) for image, objects in content["images"].items()}
        except KeyError as error:
            raise UserError(f"{path}: not a keypoints file (no {error}); {_EXAMPLE}") from error
        except (AttributeError, OverflowError, TypeError, ValueError) as error:
            raise UserError(f"{path}: not a keypoints file ({error}); {_EXAMPLE}") from error
        seen = dict.fromkeys((class_name, name) for image in points.values() for class_name, name, *_ in image)
        if not seen:
            raise UserError(f"{path}: holds no points; {_EXAMPLE}")
        for class_name, name in seen:
            if class_name not in labels.names:
                raise UserError(f"{path}: no class is called {class_name!r}; use one of {', '.join(labels.names)}")
            if name not in names:
                raise UserError(f"{path}: {name!r} of {class_name} is not listed in names; add it or correct the point")
        order = sorted(seen, key=lambda part: (labels.names.index(part[0]), names.index(part[1])))
        if len(order) > MAX_PARTS:
            raise UserError(f"{path}: has {len(order)} parts (pairs of class and name); keep at most {MAX_PARTS}")
        ids = {part: number for number, part in enumerate(order, start=1)}
        self.table = PartTable(
            names=tuple(name for _, name in order), classes=tuple(class_name for class_name, _ in order)
        )
        self._points = {
            image: tuple(Keypoint(ids[class_name, name], x, y) for class_name, name, x, y in found)
            for image, found in points.items()
        }

    def read(self, name: str, size: tuple[int, int]) -> PartLabels:
        """Return the points that lie inside an image, or no part labels if the file does not list the image."""
        if name not in self._points:
            return PartLabels()
        width, height = size
        inside = (point for point in self._points[name] if 0 <= point.x < width and 0 <= point.y < height)
        return PartLabels(keypoints=tuple(inside))


def _points(objects: Any, image: str) -> Iterator[tuple[str, str, float, float]]:
    """Yield class, name, x and y of every point of one image."""
    for entry in objects:
        for name, position in entry["keypoints"].items():
            if not (
                isinstance(position, list)
                and len(position) == 2
                and all(isinstance(number, (int, float)) and math.isfinite(number) for number in position)
            ):
                raise ValueError(f"{name} in {image} is {position!r}, not [x, y] in pixels")
            yield _text(entry["class"]), name, float(position[0]), float(position[1])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a name")
    return value
