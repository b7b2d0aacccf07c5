"""Camera that projects street coordinates onto the canvas.

Street coordinates are in meters: x to the right across the street, y up from the ground, z along the street.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scaleprotoseg.data.scenes.canvas import Point

NEAR = 0.8
"""Depth of the near plane in meters; nothing closer to the camera is drawn."""

Position = tuple[float, float, float]
"""Street coordinates (x, y, z) in meters."""

Edge = tuple[float, float]
"""A vertical line on the canvas: its column and the number of canvas pixels per meter along it."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without roll or pitch (the horizon is shifted instead, so that verticals stay vertical).

    Attributes:
        focal: Focal length in canvas pixels.
        centre: Column of the optical axis in canvas pixels.
        horizon: Row of the horizon in canvas pixels.
        height: Height above the ground in meters.
        x: Position across the street in meters (the camera is at z = 0).
        yaw: Viewing direction in radians: 0 along the street, positive to the right.
    """

    focal: float
    centre: float
    horizon: float
    height: float
    x: float
    yaw: float

    def turned(self, x: float, z: float) -> tuple[float, float]:
        """Return the distances of a ground position to the right of and ahead of the camera (its depth) in meters."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return (x - self.x) * cos - z * sin, (x - self.x) * sin + z * cos

    def depth(self, x: float, z: float) -> float:
        """Return the depth in meters of a ground position; negative behind the camera."""
        return self.turned(x, z)[1]

    def ground(self, column: float, depth: float) -> tuple[float, float]:
        """Return the ground position (x, z) at a given depth that is visible in a given canvas column."""
        right = (column - self.centre) * depth / self.focal
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return self.x + right * cos + depth * sin, depth * cos - right * sin

    def scale(self, depth: float) -> float:
        """Return the number of canvas pixels per meter at a given depth."""
        return self.focal / max(depth, NEAR)

    def point(self, position: Position) -> Point:
        """Return the canvas coordinates of a position in front of the camera."""
        right, ahead = self.turned(position[0], position[2])
        scale = self.focal / max(ahead, NEAR)
        return self.centre + right * scale, self.horizon + (self.height - position[1]) * scale

    def upright(self, x: float, z: float) -> Edge | None:
        """Return the projection of a vertical line through a ground position; None if it is behind the near plane."""
        right, ahead = self.turned(x, z)
        if ahead < NEAR:
            return None
        return self.centre + right * self.focal / ahead, self.focal / ahead

    def between(self, left: Edge, right: Edge, bottom: float, top: float) -> list[Point]:
        """Return the canvas corners of the upright rectangle between two lines from ``bottom`` to ``top`` meters up."""
        down_bottom, down_top = self.height - bottom, self.height - top
        return [
            (left[0], self.horizon + down_bottom * left[1]),
            (right[0], self.horizon + down_bottom * right[1]),
            (right[0], self.horizon + down_top * right[1]),
            (left[0], self.horizon + down_top * left[1]),
        ]

    def polygon(self, positions: Sequence[Position]) -> list[Point]:
        """Return the canvas corners of a flat shape clipped at the near plane; empty if all of it is behind."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        seen = [((x - self.x) * cos - z * sin, self.height - y, (x - self.x) * sin + z * cos) for x, y, z in positions]
        if any(corner[2] < NEAR for corner in seen):
            seen = _clipped(seen)
        return [
            (self.centre + right * self.focal / ahead, self.horizon + down * self.focal / ahead)
            for right, down, ahead in seen
        ]


def _clipped(corners: list[Position]) -> list[Position]:
    kept: list[Position] = []
    for index, corner in enumerate(corners):
        before = corners[index - 1]
        if (before[2] < NEAR) != (corner[2] < NEAR):
            fraction = (NEAR - before[2]) / (corner[2] - before[2])
            kept.append(
                (before[0] + fraction * (corner[0] - before[0]), before[1] + fraction * (corner[1] - before[1]), NEAR)
            )
        if corner[2] >= NEAR:
            kept.append(corner)
    return kept


def facing(points: Sequence[Point]) -> bool:
    """Return True if a shape, whose corners run counterclockwise as seen from outside, shows its outside."""
    area = 0.0
    for index, (x, y) in enumerate(points):
        before_x, before_y = points[index - 1]
        area += before_x * y - x * before_y
    return area < 0
