"""Canvas on which every stroke paints both the image and its exact labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from scaleprotoseg.data.dataset import PartTable

SCALE = 3
"""Canvas pixels per image pixel along each axis; odd, so that every image pixel has a canvas pixel at its center."""

_OWNER = 32
"""Factor that packs two numbers into a mark: ``surface + _OWNER * owner``; larger than any surface."""

Color = tuple[float, float, float]
Point = tuple[float, float]


class Surface(IntEnum):
    """Surface shown by a canvas pixel; it determines both class and object part, so that the two always agree."""

    SKY = 0
    WALL = 1
    GLASS = 2
    DOOR = 3
    ROOF = 4
    ASPHALT = 5
    MARKING = 6
    PAVING = 7
    CROWN = 8
    TRUNK = 9
    BODY = 10
    WINDSCREEN = 11
    WHEEL = 12
    LAMP = 13
    HEAD = 14
    TORSO = 15
    ARM = 16
    LEG = 17
    PLATE = 18
    POLE = 19
    BAG = 20


_MEANING: dict[Surface, tuple[str, str | None]] = {
    Surface.SKY: ("sky", None),
    Surface.WALL: ("building", "wall"),
    Surface.GLASS: ("building", "window"),
    Surface.DOOR: ("building", "door"),
    Surface.ROOF: ("building", "roof"),
    Surface.ASPHALT: ("road", None),
    Surface.MARKING: ("road", "lane marking"),
    Surface.PAVING: ("pavement", None),
    Surface.CROWN: ("tree", "crown"),
    Surface.TRUNK: ("tree", "trunk"),
    Surface.BODY: ("car", "body"),
    Surface.WINDSCREEN: ("car", "window"),
    Surface.WHEEL: ("car", "wheel"),
    Surface.LAMP: ("car", "light"),
    Surface.HEAD: ("person", "head"),
    Surface.TORSO: ("person", "torso"),
    Surface.ARM: ("person", "arms"),
    Surface.LEG: ("person", "legs"),
    Surface.PLATE: ("sign", "plate"),
    Surface.POLE: ("sign", "pole"),
    Surface.BAG: ("person", None),
}

CLASSES = ("sky", "building", "road", "pavement", "tree", "car", "person", "sign")
_PARTS = [(part, name) for name, part in _MEANING.values() if part is not None]
PARTS = PartTable(names=tuple(part for part, _ in _PARTS), classes=tuple(name for _, name in _PARTS))

_CLASS_OF = np.array([CLASSES.index(name) for name, _ in _MEANING.values()], dtype=np.uint8)
_PART_OF = np.array(
    [0 if part is None else 1 + _PARTS.index((part, name)) for name, part in _MEANING.values()], dtype=np.uint8
)


class Canvas:
    """An enlarged image together with the surface of every pixel.

    Colors fade toward ``haze`` with distance, so every shape is painted at a depth.

    Args:
        width: Width of the finished image in pixels.
        height: Height of the finished image in pixels.
        haze: Color of distant air.
        density: Haze per meter, at least 0; ``1 / (1 + density * depth)`` of a color remains at a depth.
    """

    def __init__(self, width: int, height: int, haze: Color, density: float) -> None:
        self.width, self.height = width * SCALE, height * SCALE
        self.haze, self.density = haze, density
        self._image = Image.new("RGB", (self.width, self.height))
        self._marks = Image.new("I", (self.width, self.height))
        self._shadows = Image.new("L", (self.width, self.height))
        self._owner = 0
        self._attach()

    def copy(self) -> Canvas:
        """Return an independent copy, whose current owner is the background."""
        copy = Canvas(self.width // SCALE, self.height // SCALE, self.haze, self.density)
        copy._image, copy._marks, copy._shadows = self._image.copy(), self._marks.copy(), self._shadows.copy()
        copy._attach()
        return copy

    def own(self, owner: int) -> None:
        """Assign everything painted from now on to the object with number ``owner``; the background is number 0."""
        self._owner = owner * _OWNER

    def _attach(self) -> None:
        # Drawing without antialiasing puts shapes onto the same pixels in the image and in the labels.
        self._brush = ImageDraw.Draw(self._image)
        self._marker = ImageDraw.Draw(self._marks)
        self._shade = ImageDraw.Draw(self._shadows)

    def fill(self, image: npt.NDArray[np.uint8], surfaces: npt.NDArray[np.uint8]) -> None:
        """Replace the image by (H, W, 3) colors and the labels by (H, W) surfaces, both at canvas size."""
        self._image = Image.fromarray(image)
        self._marks = Image.fromarray(surfaces.astype(np.int32))
        self._attach()

    def polygon(self, points: Sequence[Point], color: Color, surface: Surface, depth: float) -> None:
        """Paint a filled polygon.

        Args:
            points: Corners in canvas pixels; nothing is painted if there are fewer than three.
            color: Color without haze, RGB in 0-255; brighter values are compressed.
            surface: Surface to label the pixels with.
            depth: Distance from the camera in meters.
        """
        if len(points) < 3:
            return
        clear = 1.0 / (1.0 + self.density * depth)
        red, green, blue = self.haze
        fill = (
            round(red + clear * (_soft(color[0]) - red)),
            round(green + clear * (_soft(color[1]) - green)),
            round(blue + clear * (_soft(color[2]) - blue)),
        )
        self._brush.polygon(points, fill=fill)
        self._marker.polygon(points, fill=self._owner + surface.value)

    def disc(
        self, centre: Point, radius: float, color: Color, surface: Surface, depth: float, squash: float = 1.0
    ) -> None:
        """Paint an ellipse, ``squash`` times as wide as high, as a polygon with enough corners for its size."""
        self.polygon(ring(centre, radius, squash), color, surface, depth)

    def shadow(self, points: Sequence[Point], strength: float) -> None:
        """Record a shadow (strength 0-1) that :meth:`cast` later applies to everything painted by then."""
        if len(points) >= 3:
            self._shade.polygon(points, fill=round(255 * strength))

    def cast(self, softness: float) -> None:
        """Apply all recorded shadows, blurred by ``softness`` canvas pixels, to the image painted so far."""
        soft = self._shadows.filter(ImageFilter.BoxBlur(softness))
        self._image.paste(Image.new("RGB", self._image.size, (14, 16, 30)), mask=soft)
        self._attach()

    def image(self) -> Image.Image:
        """Return the image at its final size, with smooth edges."""
        return self._image.reduce(SCALE)

    def surfaces(self) -> npt.NDArray[np.uint8]:
        """Return the :class:`Surface` at the center of each pixel of the final image, (H, W)."""
        return (self._centres() % _OWNER).astype(np.uint8)

    def areas(self, owners: int) -> list[int]:
        """Return the number of visible image pixels of the background and of the objects 1 to ``owners - 1``."""
        areas: list[int] = np.bincount((self._centres() // _OWNER).ravel(), minlength=owners).tolist()
        return areas

    def _centres(self) -> npt.NDArray[np.int32]:
        return np.asarray(self._marks)[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE]


def class_mask(surfaces: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the train ids (indices into :data:`CLASSES`) of an array of surfaces of any shape."""
    return _CLASS_OF[surfaces]


def part_mask(surfaces: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the part ids of :data:`PARTS` for an array of surfaces of any shape; 0 for surfaces without a part."""
    return _PART_OF[surfaces]


def _soft(value: float) -> float:
    """Compress bright values smoothly below 255, so that sunlit colors keep their hue."""
    over = value - 185.0
    return value if over <= 0 else 185.0 + over / (1.0 + over / 68.0)


def ring(centre: Point, radius: float, squash: float = 1.0) -> list[Point]:
    """Return the corners of an ellipse with half axes ``squash * radius`` (horizontal) and ``radius`` (vertical)."""
    corners = max(6, min(24, int(radius * 1.5)))
    angles = [2 * math.pi * corner / corners for corner in range(corners)]
    return [(centre[0] + squash * radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]


def mix(first: Color, second: Color, fraction: float) -> Color:
    """Return the color that is ``fraction`` of the way from ``first`` to ``second``."""
    red, green, blue = (a + fraction * (b - a) for a, b in zip(first, second, strict=True))
    return red, green, blue


def scaled(color: Color, factor: float) -> Color:
    """Return a color ``factor`` times as bright."""
    return color[0] * factor, color[1] * factor, color[2] * factor
