"""The camera: where a point of the street appears in the picture.

The street's own coordinates are metres: x to the right across the street, y up from the ground, z along it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scaleprotoseg.data.scenes.canvas import Point

NEAR = 0.8
"""Nothing nearer than this many metres is drawn."""

Place = tuple[float, float, float]
Edge = tuple[float, float]
"""A vertical line in the picture: its column, and canvas pixels per metre along it."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without roll or pitch (the horizon is shifted instead, so verticals stay vertical).

    Attributes:
        focal: Focal length in canvas pixels.
        centre: Column of the optical axis in canvas pixels.
        horizon: Row of the horizon in canvas pixels.
        height: Metres above the ground.
        x: Place across the street in metres (it stands at z = 0).
        yaw: Direction of view in radians: 0 along the street, positive to the right.
    """

    focal: float
    centre: float
    horizon: float
    height: float
    x: float
    yaw: float

    def turned(self, x: float, z: float) -> tuple[float, float]:
        """A ground place as seen from the camera: metres to its right and metres ahead (its depth)."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return (x - self.x) * cos - z * sin, (x - self.x) * sin + z * cos

    def depth(self, x: float, z: float) -> float:
        """Metres ahead of the camera; negative behind it."""
        return self.turned(x, z)[1]

    def ground(self, column: float, depth: float) -> tuple[float, float]:
        """The place (x, z) on the ground at a depth, seen in a canvas column."""
        right = (column - self.centre) * depth / self.focal
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return self.x + right * cos + depth * sin, depth * cos - right * sin

    def scale(self, depth: float) -> float:
        """Canvas pixels per metre at a depth."""
        return self.focal / max(depth, NEAR)

    def point(self, place: Place) -> Point:
        """Canvas position of a place in front of the camera."""
        right, ahead = self.turned(place[0], place[2])
        scale = self.focal / max(ahead, NEAR)
        return self.centre + right * scale, self.horizon + (self.height - place[1]) * scale

    def upright(self, x: float, z: float) -> Edge | None:
        """How a vertical line through a ground place appears; None if it is behind the near plane."""
        right, ahead = self.turned(x, z)
        if ahead < NEAR:
            return None
        return self.centre + right * self.focal / ahead, self.focal / ahead

    def between(self, left: Edge, right: Edge, bottom: float, top: float) -> list[Point]:
        """Canvas corners of the upright rectangle between two vertical lines, ``bottom`` to ``top`` metres up."""
        down_bottom, down_top = self.height - bottom, self.height - top
        return [
            (left[0], self.horizon + down_bottom * left[1]),
            (right[0], self.horizon + down_bottom * right[1]),
            (right[0], self.horizon + down_top * right[1]),
            (left[0], self.horizon + down_top * left[1]),
        ]

    def polygon(self, places: Sequence[Place]) -> list[Point]:
        """Canvas corners of a flat shape, cut off at the near plane; empty if nothing of it is in front."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        seen = [((x - self.x) * cos - z * sin, self.height - y, (x - self.x) * sin + z * cos) for x, y, z in places]
        if any(corner[2] < NEAR for corner in seen):
            seen = _cut(seen)
        return [
            (self.centre + right * self.focal / ahead, self.horizon + down * self.focal / ahead)
            for right, down, ahead in seen
        ]


def _cut(corners: list[Place]) -> list[Place]:
    kept: list[Place] = []
    for index, corner in enumerate(corners):
        before = corners[index - 1]
        if (before[2] < NEAR) != (corner[2] < NEAR):
            share = (NEAR - before[2]) / (corner[2] - before[2])
            kept.append(
                (before[0] + share * (corner[0] - before[0]), before[1] + share * (corner[1] - before[1]), NEAR)
            )
        if corner[2] >= NEAR:
            kept.append(corner)
    return kept


def facing(points: Sequence[Point]) -> bool:
    """Whether a shape whose corners run anticlockwise when seen from outside shows its outside."""
    area = 0.0
    for index, (x, y) in enumerate(points):
        before_x, before_y = points[index - 1]
        area += before_x * y - x * before_y
    return area < 0
