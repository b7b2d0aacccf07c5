"""The source of a prototype: the training patch it was projected onto, and the region of the image to show for it."""

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

CROP_SIDE = 224
"""Largest width and height of a stored crop, in pixels."""


@dataclass(frozen=True)
class Source:
    """The training patch nearest to a prototype, normally the one it was projected onto.

    Attributes:
        image: Name of the training image.
        image_size: (width, height) of the image in pixels.
        cell: (row, column) of the patch on the feature map.
        box: Region of the image that is shown for the cell, clipped to the image.
        window: Region of the image that is stored with the model: the box and its surroundings.
        distance: Squared distance between the patch and the prototype before it was projected.
        png: The window as PNG bytes, at most ``CROP_SIDE`` pixels wide and high.
    """

    image: str
    image_size: tuple[int, int]
    cell: tuple[int, int]
    box: Box
    window: Box
    distance: float
    png: bytes = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return the source as JSON values, without the PNG bytes."""
        values = asdict(self)
        del values["png"]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any], png: bytes) -> Source:
        """Build a source from the values of :meth:`to_json` and its PNG bytes.

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
                png=png,
            )
        except (KeyError, TypeError) as error:
            raise UserError(f"prototypes.json: malformed source ({error!r}); save the model again") from error


def reach_of(config: NetworkConfig, scale: int) -> int:
    """Return the number of cells that explanations show on each side of a cell at a scale.

    It is the value that a ``frame`` phase measured, if there is one, else the dilation of the scale's branch. If the
    branches are summed, the largest dilation counts. If the network also reads resized copies of the image, the
    dilation is divided by the smallest resize factor, because the value of a cell may come from that copy.

    Args:
        config: Configuration of the network.
        scale: Index of the scale.

    >>> reach_of(NetworkConfig(), 1)  # dilations (6, 12, 18, 24)
    12
    """
    if config.pyramid.shown is not None:
        return config.pyramid.shown[scale]
    dilations = config.pyramid.dilations
    dilation = dilations[scale] if config.pyramid.fuse == "keep" else max(dilations)
    return math.ceil(dilation / min((1.0, *config.input.scales)))


def patch_box(cell: tuple[int, int], grid: tuple[int, int], image_size: tuple[int, int], reach: int) -> Box:
    """Return the region of the image under the cells from ``cell - reach`` to ``cell + reach``, clipped to the image.

    Args:
        cell: (row, column) on the feature map.
        grid: (height, width) of the feature map.
        image_size: (width, height) of the image in pixels.
        reach: Number of cells on each side, as returned by :func:`reach_of`.

    >>> patch_box(cell=(0, 3), grid=(6, 8), image_size=(64, 48), reach=1)
    (16, 0, 40, 16)
    """
    (row, column), (rows, columns), (width, height) = cell, grid, image_size
    return (
        max(0, round((column - reach) * width / columns)),
        max(0, round((row - reach) * height / rows)),
        min(width, round((column + reach + 1) * width / columns)),
        min(height, round((row + reach + 1) * height / rows)),
    )


def context_window(box: Box, image_size: tuple[int, int]) -> Box:
    """Return the box extended by half its size on every side, clipped to the image.

    >>> context_window((16, 0, 40, 16), image_size=(64, 48))
    (4, 0, 52, 24)
    """
    left, top, right, bottom = box
    width, height = image_size
    across, down = (right - left) // 2, (bottom - top) // 2
    return max(0, left - across), max(0, top - down), min(width, right + across), min(height, bottom + down)


def crop_png(image: Image.Image, window: Box) -> bytes:
    """Return a window of an image as PNG bytes, shrunk to at most ``CROP_SIDE`` pixels in width and height."""
    crop = image.crop(window)
    crop.thumbnail((CROP_SIDE, CROP_SIDE))
    buffer = io.BytesIO()
    crop.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
