"""Where a prototype comes from: one place in one training picture."""

from __future__ import annotations

import io
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from PIL import Image

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.config import NetworkConfig

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels; right and bottom are exclusive."""

PICTURE_SIDE = 224
"""Longest side of a stored picture, in pixels."""


@dataclass(frozen=True)
class Source:
    """The training patch that is nearest to a prototype, as a rule the one it was projected onto.

    Attributes:
        image: Name of the training picture.
        image_size: (width, height) of that picture.
        cell: (row, column) on the feature map.
        box: What the prototype's pyramid branch reads around that cell, clipped to the picture.
        window: The part of the picture that is kept with the model, around the box.
        distance: Squared distance from the prototype, as it was learned, to the patch.
        picture: The window as PNG bytes, at most ``PICTURE_SIDE`` wide and high.
    """

    image: str
    image_size: tuple[int, int]
    cell: tuple[int, int]
    box: Box
    window: Box
    distance: float
    picture: bytes = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain data without the picture."""
        values = asdict(self)
        del values["picture"]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any], picture: bytes) -> Source:
        """Reads what :meth:`to_json` wrote.

        Raises:
            UserError: If a value is missing.
        """
        try:
            return cls(
                image=values["image"],
                image_size=tuple(values["image_size"]),
                cell=tuple(values["cell"]),
                box=tuple(values["box"]),
                window=tuple(values["window"]),
                distance=values["distance"],
                picture=picture,
            )
        except (KeyError, TypeError) as error:
            raise UserError(f"prototypes.json: malformed source ({error!r}); save the model again") from error


def reach_of(config: NetworkConfig, scale: int) -> int:
    """Cells to each side of its own that explanations show of a scale: what was found for it, else its dilation.

    Args:
        config: Of the network. Where branches are summed, the longest one counts; where pictures are read at several
            sizes, the smallest, for a cell may come from there.
        scale: Index of the scale.
    """
    if config.pyramid.shown is not None:
        return config.pyramid.shown[scale]
    dilations = config.pyramid.dilations
    dilation = dilations[scale] if config.pyramid.fuse == "keep" else max(dilations)
    return math.ceil(dilation / min((1.0, *config.input.scales)))


def patch_box(cell: tuple[int, int], grid: tuple[int, int], image_size: tuple[int, int], reach: int) -> Box:
    """The picture region under the cells from ``cell - reach`` to ``cell + reach``, clipped to the picture.

    Args:
        cell: (row, column) on the feature map.
        grid: (height, width) of the feature map.
        image_size: (width, height) of the picture.
        reach: Cells to each side, as :func:`reach_of` gives them.
    """
    (row, column), (rows, columns), (width, height) = cell, grid, image_size
    return (
        max(0, round((column - reach) * width / columns)),
        max(0, round((row - reach) * height / rows)),
        min(width, round((column + reach + 1) * width / columns)),
        min(height, round((row + reach + 1) * height / rows)),
    )


def context_window(box: Box, image_size: tuple[int, int]) -> Box:
    """The box with half its size added on every side, clipped to the picture."""
    left, top, right, bottom = box
    width, height = image_size
    across, down = (right - left) // 2, (bottom - top) // 2
    return max(0, left - across), max(0, top - down), min(width, right + across), min(height, bottom + down)


def crop_png(image: Image.Image, window: Box) -> bytes:
    """The window of a picture as PNG bytes, shrunk to at most ``PICTURE_SIDE`` wide and high."""
    crop = image.crop(window)
    crop.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    buffer = io.BytesIO()
    crop.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
