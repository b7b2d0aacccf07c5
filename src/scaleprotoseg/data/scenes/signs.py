"""Signs: plates of several shapes and traffic lights, mounted on poles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from scaleprotoseg.data.scenes.camera import Camera
from scaleprotoseg.data.scenes.canvas import SCALE, Canvas, Color, Point, Surface, scaled
from scaleprotoseg.data.scenes.light import Light

_RED: Color = (196, 36, 40)
_BLUE: Color = (34, 84, 166)
_WHITE: Color = (236, 236, 232)
_YELLOW: Color = (244, 196, 48)
_BLACK: Color = (36, 38, 42)
_GREEN: Color = (40, 120, 84)
KINDS = ("limit", "no entry", "warning", "stop", "priority", "parking", "direction", "traffic light")
"""Kinds of signs."""


@dataclass(frozen=True)
class Sign:
    """A sign at the curb.

    Attributes:
        x: Position across the street in meters.
        z: Position along the street in meters.
        kind: One of :data:`KINDS`.
        size: Height of the plate in meters.
        height: Height of the middle of the plate above the ground in meters.
        state: Lit lamp of a traffic light (0-2, from the top); selects the color of some other signs.
    """

    x: float
    z: float
    kind: str
    size: float
    height: float
    state: int

    def depth(self, camera: Camera) -> float:
        """Return the depth in meters."""
        return camera.depth(self.x, self.z)

    def extent(self) -> tuple[float, float]:
        """Return the approximate visible width and height in meters."""
        return self.size * 0.8, self.height + self.size / 2

    def shadow(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Cast the thin shadow of the pole."""
        reach = self.height / max(light.sun[1], 0.35)
        x, z = self.x - light.sun[0] * reach, self.z - light.sun[2] * reach
        wide = 0.12
        ground = [(self.x - wide, 0.0, self.z), (self.x + wide, 0.0, self.z), (x + wide, 0.0, z), (x - wide, 0.0, z)]
        canvas.shadow(camera.polygon(ground), light.shadow)

    def draw(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Paint the pole, then the plate, which always faces the camera."""
        depth = self.depth(camera)
        unit = camera.scale(depth)
        foot_x, foot_y = camera.point((self.x, 0.0, self.z))
        bright = light.ambient + 0.7 * light.direct
        # A pole thinner than two image pixels would be noise in the labels.
        half = max(0.07 * unit, 1.2 * SCALE)
        middle = foot_y - self.height * unit
        for left, right, tone in ((-half, half, 118.0), (-half, -0.2 * half, 164.0)):
            bar = [(foot_x + left, foot_y), (foot_x + right, foot_y), (foot_x + right, middle), (foot_x + left, middle)]
            canvas.polygon(bar, scaled((tone, tone, tone + 4), bright), Surface.POLE, depth)

        def plate(shape: list[Point], color: Color, size: float = 1.0, lit: bool = False) -> None:
            reach = 0.5 * self.size * unit * size
            points = [(foot_x + x * reach, middle - y * reach) for x, y in shape]
            canvas.polygon(points, color if lit else scaled(color, bright), Surface.PLATE, depth)

        self._plate(plate)

    def _plate(self, plate: _Plate) -> None:
        if self.kind == "limit":
            plate(_round(), _RED)
            plate(_round(), _WHITE, 0.72)
            plate(_box(-0.42, -0.06, -0.36, 0.36), _BLACK)
            for low in (-0.2, 0.08):
                plate(_box(-0.5, -0.2, low, low + 0.12), _WHITE)
            plate(_box(0.08, 0.46, -0.36, 0.36), _BLACK)
            plate(_box(0.2, 0.34, -0.22, 0.22), _WHITE)
        elif self.kind == "no entry":
            plate(_round(), (_RED, _BLUE, _RED)[self.state])
            plate(_box(-0.66, 0.66, -0.16, 0.16), _WHITE)
        elif self.kind == "warning":
            plate([(-1.05, -0.85), (1.05, -0.85), (0.0, 1.0)], _RED)
            plate([(-0.66, -0.62), (0.66, -0.62), (0.0, 0.54)], (_WHITE, _YELLOW, _WHITE)[self.state])
            plate(_box(-0.1, 0.1, -0.45, 0.1), _BLACK)
        elif self.kind == "stop":
            plate(_round(8, math.pi / 8), _WHITE, 1.05)
            plate(_round(8, math.pi / 8), _RED, 0.94)
            plate(_box(-0.66, 0.66, -0.18, 0.2), _WHITE)
        elif self.kind == "priority":
            plate(_round(4), _WHITE, 1.1)
            plate(_round(4), _YELLOW, 0.8)
        elif self.kind == "parking":
            plate(_box(-0.8, 0.8, -1, 1), _BLUE)
            plate(_box(-0.36, -0.08, -0.66, 0.68), _WHITE)
            plate(_box(-0.08, 0.44, -0.08, 0.68), _WHITE)
            plate(_box(-0.08, 0.18, 0.17, 0.43), _BLUE)
        elif self.kind == "direction":
            ground = (_BLUE, _GREEN, _YELLOW)[self.state]
            plate(_box(-1.5, 1.5, -0.8, 0.8), _WHITE)
            plate(_box(-1.38, 1.38, -0.66, 0.66), ground)
            ink = _BLACK if ground is _YELLOW else _WHITE
            plate(_box(-1.1, 0.3, 0.14, 0.4), ink)
            plate(_box(-1.1, 0.7, -0.36, -0.1), ink)
        else:
            plate(_box(-0.52, 0.52, -1.15, 1.15), _BLACK)
            for lamp, (color, y) in enumerate((((255, 62, 48), 0.72), ((255, 190, 50), 0.0), ((70, 226, 130), -0.72))):
                on = lamp == self.state
                shape = [(0.3 * a, y + 0.3 * b) for a, b in _round()]
                plate(shape, color if on else scaled(color, 0.28), lit=on)


class _Plate(Protocol):
    """Function that paints a shape, given in units of half the size of the plate around its middle."""

    def __call__(self, shape: list[Point], color: Color, size: float = 1.0, lit: bool = False) -> None: ...


def any_sign(x: float, z: float, rng: np.random.Generator) -> Sign:
    """Sample the kind and the size of a sign at a given position."""
    kind = KINDS[int(rng.choice(len(KINDS), p=[0.15, 0.12, 0.14, 0.1, 0.1, 0.11, 0.12, 0.16]))]
    size = float(rng.uniform(1.0, 1.3))
    return Sign(x, z, kind, size, float(rng.uniform(2.0, 2.7)) + 0.2 * size, int(rng.integers(3)))


def _round(corners: int = 18, turn: float = 0.0) -> list[Point]:
    angles = [2 * math.pi * corner / corners + turn for corner in range(corners)]
    return [(math.cos(a), math.sin(a)) for a in angles]


def _box(left: float, right: float, bottom: float, top: float) -> list[Point]:
    return [(left, bottom), (right, bottom), (right, top), (left, top)]
