"""People: flat figures of several limbs, walking or standing, seen from the front, the back or the side."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from scaleprotoseg.data.scenes.camera import Camera
from scaleprotoseg.data.scenes.canvas import Canvas, Color, Point, Surface, scaled
from scaleprotoseg.data.scenes.light import Light

_At = Callable[[float, float], Point]

_SKINS: tuple[Color, ...] = ((240, 204, 176), (222, 178, 144), (186, 136, 100), (132, 90, 64), (92, 62, 46))
_HAIRS: tuple[Color, ...] = (
    (36, 28, 26),
    (84, 56, 36),
    (150, 106, 60),
    (206, 176, 112),
    (140, 136, 134),
    (120, 52, 34),
)
_CLOTHES: tuple[Color, ...] = (
    (188, 44, 46), (48, 84, 150), (226, 226, 222), (44, 46, 54), (120, 124, 130), (66, 116, 78), (222, 170, 58),
    (120, 74, 122), (150, 108, 74), (96, 150, 170), (214, 120, 70), (196, 176, 148), (228, 150, 168), (70, 76, 100),
)  # fmt: skip
_TROUSERS: tuple[Color, ...] = (
    (44, 56, 90), (36, 38, 44), (90, 92, 98), (140, 118, 88), (70, 62, 56), (104, 124, 150), (190, 182, 166),
)  # fmt: skip


@dataclass(frozen=True)
class Person:
    """A pedestrian.

    Attributes:
        x: Position across the street in meters.
        z: Position along the street in meters.
        height: Height in meters.
        sideways: Direction of walking: -1 to the left of the image, 1 to the right, 0 toward or away from the camera.
        away: True if the back is visible (only used if ``sideways`` is 0).
        stride: Distance between the legs relative to a normal step, from 0 (standing) to about 1.
        skirt: True if a skirt or a long coat hides the thighs.
        bag: True if the person carries a bag in one hand or, sideways, a backpack.
        skin: Color of the skin.
        hair: Color of the hair.
        top: Color of the shirt or coat.
        bottom: Color of the trousers or skirt.
    """

    x: float
    z: float
    height: float
    sideways: int
    away: bool
    stride: float
    skirt: bool
    bag: bool
    skin: Color
    hair: Color
    top: Color
    bottom: Color

    def depth(self, camera: Camera) -> float:
        """Return the depth in meters."""
        return camera.depth(self.x, self.z)

    def extent(self) -> tuple[float, float]:
        """Return the approximate visible width and height in meters."""
        return 0.36 * self.height, self.height

    def shadow(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Cast a long thin shadow and darken the ground at the feet."""
        reach = self.height / max(light.sun[1], 0.35)
        tip_x, tip_z = self.x - light.sun[0] * reach, self.z - light.sun[2] * reach
        wide = 0.13 * self.height
        side_x, side_z = wide * math.cos(camera.yaw), -wide * math.sin(camera.yaw)
        ground = [(self.x - side_x, 0.0, self.z - side_z), (self.x + side_x, 0.0, self.z + side_z)]
        far = [(tip_x + side_x, 0.0, tip_z + side_z), (tip_x - side_x, 0.0, tip_z - side_z)]
        canvas.shadow(camera.polygon(ground + far), light.shadow)
        depth = self.depth(camera)
        canvas.shadow(_ellipse(camera.point((self.x, 0.0, self.z)), camera.scale(depth) * wide), 0.55)

    def draw(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Paint the figure from the far limbs to the near ones."""
        depth = self.depth(camera)
        unit = camera.scale(depth) * self.height
        foot_x, foot_y = camera.point((self.x, 0.0, self.z))
        bright = light.ambient + 0.6 * light.direct
        turn = self.sideways or 1

        def at(right: float, up: float) -> Point:
            return foot_x + turn * right * unit, foot_y - up * unit

        def limb(points: list[Point], thick: float, color: Color, surface: Surface, tone: float = 1.0) -> None:
            paint = scaled(color, bright * tone)
            for (x0, y0), (x1, y1) in pairwise(points):
                length = math.hypot(x1 - x0, y1 - y0) or 1.0
                across_x, across_y = -(y1 - y0) / length * thick / 2, (x1 - x0) / length * thick / 2
                bar = [
                    at(x0 + across_x, y0 + across_y), at(x1 + across_x, y1 + across_y),
                    at(x1 - across_x, y1 - across_y), at(x0 - across_x, y0 - across_y),
                ]  # fmt: skip
                canvas.polygon(bar, paint, surface, depth)
                canvas.disc(at(x1, y1), thick / 2 * unit, paint, surface, depth)

        swing = 0.13 * self.stride
        shoe = (38.0, 32.0, 32.0)
        if self.sideways:
            hips, shoulders, wide = (0.0, 0.0), (0.0, 0.0), 0.185
            knees, feet = (-0.35 * swing, 0.9 * swing), (-1.15 * swing, swing)
            hands = (1.1 * swing + 0.03, -1.0 * swing)
        else:
            hips, shoulders, wide = (-0.05, 0.05), (-0.115, 0.115), 0.23
            knees, feet = (-0.055, 0.055), (-0.055 - 0.2 * swing, 0.055 + 0.2 * swing)
            hands = (-0.15 - 0.2 * swing, 0.15 + 0.2 * swing)
        lifts = (0.35 * swing, 0.0)

        def leg(index: int) -> None:
            tone = 0.78 if self.sideways and index == 0 else 1.0
            path = [(hips[index], 0.48), (knees[index], 0.25 + 0.4 * lifts[index]), (feet[index], 0.03 + lifts[index])]
            limb(path, 0.112, self.skin if self.skirt else self.bottom, Surface.LEG, tone)
            toe = 0.055 if self.sideways else 0.0
            limb(
                [(feet[index], 0.022 + lifts[index]), (feet[index] + toe, 0.022 + lifts[index])],
                0.055,
                shoe,
                Surface.LEG,
            )

        def arm(index: int) -> None:
            tone = 0.75 if self.sideways and index == 0 else 0.88
            elbow = (0.5 * (shoulders[index] + hands[index]) * (1.0 if self.sideways else 1.12), 0.62)
            limb([(shoulders[index], 0.79), elbow, (hands[index], 0.47)], 0.082, self.top, Surface.ARM, tone)
            canvas.disc(at(hands[index], 0.45), 0.037 * unit, scaled(self.skin, bright), Surface.ARM, depth)

        leg(0)
        if self.sideways:
            arm(0)
        leg(1)
        self._torso(canvas, at, wide, bright, depth)
        arm(1)
        if not self.sideways:
            arm(0)
        self._head(canvas, at, unit, bright, depth)
        if self.bag:
            right, up, half = (-0.11, 0.69, 0.055) if self.sideways else (hands[1] + 0.01, 0.37, 0.065)
            box = [at(right - half, up - 0.075), at(right + half, up - 0.075), at(right + 0.8 * half, up + 0.075),
                   at(right - 0.8 * half, up + 0.075)]  # fmt: skip
            canvas.polygon(box, scaled(self.hair, 1.15 * bright), Surface.BAG, depth)

    def _torso(self, canvas: Canvas, at: _At, wide: float, bright: float, depth: float) -> None:
        half, waist = wide / 2, 0.42 * wide
        chest = [at(-waist, 0.45), at(waist, 0.45), at(half, 0.78), at(0.6 * half, 0.835), at(-0.6 * half, 0.835),
                 at(-half, 0.78)]  # fmt: skip
        canvas.polygon(chest, scaled(self.top, bright), Surface.TORSO, depth)
        lit = [at(0.1 * half, 0.45), at(waist, 0.45), at(half, 0.78), at(0.6 * half, 0.835), at(0.1 * half, 0.835)]
        canvas.polygon(lit, scaled(self.top, 1.12 * bright), Surface.TORSO, depth)
        if self.skirt:
            hem = [at(-0.12, 0.27), at(0.12, 0.27), at(waist, 0.5), at(-waist, 0.5)]
            canvas.polygon(hem, scaled(self.bottom, bright), Surface.LEG, depth)

    def _head(self, canvas: Canvas, at: _At, unit: float, bright: float, depth: float) -> None:
        neck = [at(-0.03, 0.8), at(0.03, 0.8), at(0.03, 0.88), at(-0.03, 0.88)]
        canvas.polygon(neck, scaled(self.skin, 0.85 * bright), Surface.HEAD, depth)
        hair, skin = scaled(self.hair, bright), scaled(self.skin, bright)
        canvas.disc(at(0.0, 0.925), 0.075 * unit, hair, Surface.HEAD, depth, 0.86)
        if self.sideways:
            canvas.disc(at(0.022, 0.91), 0.056 * unit, skin, Surface.HEAD, depth, 0.8)
        elif not self.away:
            canvas.disc(at(0.0, 0.907), 0.056 * unit, skin, Surface.HEAD, depth, 0.85)
            for eye in (-0.021, 0.021) if unit > 150 else ():
                canvas.disc(at(eye, 0.915), 0.009 * unit, scaled(self.skin, 0.3), Surface.HEAD, depth)


def any_person(x: float, z: float, rng: np.random.Generator) -> Person:
    """Sample the appearance and the pose of a person at a given position."""

    def pick(colors: tuple[Color, ...]) -> Color:
        return colors[int(rng.integers(len(colors)))]

    return Person(
        x=x,
        z=z,
        height=float(rng.uniform(1.2, 1.45) if rng.uniform() < 0.12 else rng.uniform(1.6, 1.9)),
        sideways=int(rng.choice([-1, 0, 0, 1])),
        away=bool(rng.uniform() < 0.5),
        stride=float(rng.uniform(0.4, 1.1)) if rng.uniform() < 0.75 else 0.15,
        skirt=bool(rng.uniform() < 0.22),
        bag=bool(rng.uniform() < 0.3),
        skin=pick(_SKINS),
        hair=pick(_HAIRS),
        top=pick(_CLOTHES),
        bottom=pick(_TROUSERS),
    )


def _ellipse(centre: Point, wide: float) -> list[Point]:
    angles = [2 * math.pi * step / 10 for step in range(10)]
    return [(centre[0] + wide * math.cos(a), centre[1] + 0.3 * wide * math.sin(a)) for a in angles]
