"""Layout of a scene: positions of the camera and of all objects along the street."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from scaleprotoseg.data.scenes.buildings import Plot, any_building
from scaleprotoseg.data.scenes.camera import Camera
from scaleprotoseg.data.scenes.canvas import SCALE, Canvas
from scaleprotoseg.data.scenes.cars import any_car
from scaleprotoseg.data.scenes.ground import Street
from scaleprotoseg.data.scenes.light import Light
from scaleprotoseg.data.scenes.people import any_person
from scaleprotoseg.data.scenes.signs import any_sign
from scaleprotoseg.data.scenes.trees import any_tree

WIDTH, HEIGHT = 128, 96
"""Size of a scene in pixels."""

_FAR = 62.0
"""Distance from the camera to the ends of the street in meters."""


class Thing(Protocol):
    """An object that stands on the ground."""

    def depth(self, camera: Camera) -> float:
        """Return the depth in meters."""

    def shadow(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Record the shadow of the object on the ground."""

    def draw(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Paint the object."""


class Compact(Thing, Protocol):
    """An object small enough to be hidden completely."""

    @property
    def x(self) -> float:
        """Position across the street in meters."""

    @property
    def z(self) -> float:
        """Position along the street in meters."""

    def extent(self) -> tuple[float, float]:
        """Return the approximate visible width and height in meters."""


def any_camera(street: Street, rng: np.random.Generator) -> Camera:
    """Sample a camera that looks along the street, or across it from one of its pavements."""
    focal = float(rng.uniform(96, 130)) * SCALE
    height = float(rng.uniform(1.7, 3.2))
    horizon = float(rng.uniform(0.36, 0.5)) * HEIGHT * SCALE
    if rng.uniform() < 0.68:
        x = float(rng.uniform(-1.0, 1.0)) * (street.half + 1.0)
        yaw = float(rng.uniform(-0.22, 0.22)) - 0.04 * x
    else:
        side = float(rng.choice([-1, 1]))
        x = side * (street.half + 0.9 * street.paving)
        yaw = -side * float(rng.uniform(0.75, 1.75))
    return Camera(focal, WIDTH * SCALE / 2, horizon, height, x, yaw)


def _across(camera: Camera) -> bool:
    return abs(camera.yaw) > 0.5


def buildings_and_backdrop(street: Street, camera: Camera, rng: np.random.Generator) -> list[Thing]:
    """Sample rows of buildings on both sides, with side roads and gaps with trees, and a backdrop at the ends."""
    things: list[Thing] = []
    tall = float(rng.uniform(5, 13))
    for side in (-1, 1):
        z = -_FAR if _across(camera) else -6.0
        while z < _FAR:
            start, end = z, z + float(rng.uniform(7, 14))
            z = end
            if street.crossing is not None and (
                start < street.crossing + street.side_half + 2 and end > street.crossing - street.side_half - 2
            ):
                continue
            if rng.uniform() < 0.16:
                for _ in range(3):
                    x = street.middle(start) + side * (street.front + float(rng.uniform(1, 6)))
                    things.append(any_tree(x, float(rng.uniform(start, end)), rng))
                continue
            setback = street.front + float(rng.uniform(0, 0.8))
            corners = [(street.middle(at) + side * setback, at) for at in (start, end)]
            left, right = corners if side < 0 else corners[::-1]
            plot = _plot(left, right, float(rng.uniform(7, 10)))
            things.append(any_building(plot, max(3.5, tall * float(rng.uniform(0.6, 1.5))), rng))
    things += _backdrop(street, camera, rng)
    return [thing for thing in things if thing.depth(camera) > 1.0]


def _backdrop(street: Street, camera: Camera, rng: np.random.Generator) -> list[Thing]:
    """Sample buildings and trees that close the view at both ends of the street and, where visible, at its sides."""
    # Each row has a middle and a direction from its left to its right end, as seen from the street.
    rows = [((street.middle(_FAR), _FAR), (1, 0)), ((street.middle(-_FAR), -_FAR), (-1, 0))]
    if _across(camera) or street.crossing is not None:
        rows += [((side * (street.front + 24), 0.0), (0, -side)) for side in (-1, 1)]
    things: list[Thing] = []
    for (x, z), (along_x, along_z) in rows:
        position = -45.0
        while position < 45.0:
            wide, back = float(rng.uniform(8, 16)), float(rng.uniform(0, 10))
            left = (x + along_x * position - along_z * back, z + along_z * position + along_x * back)
            right = (left[0] + along_x * wide, left[1] + along_z * wide)
            if rng.uniform() < 0.3:
                things.append(any_tree(*left, rng))
            else:
                things.append(any_building(_plot(left, right, 9.0), float(rng.uniform(5, 12)), rng))
            position += wide
    return things


def _plot(left: tuple[float, float], right: tuple[float, float], deep: float) -> Plot:
    """Return the plot of a building ``deep`` meters deep, given the left and right end of its street front."""
    length = math.dist(left, right)
    back_x, back_z = -(right[1] - left[1]) / length * deep, (right[0] - left[0]) / length * deep
    return left, right, (right[0] + back_x, right[1] + back_z), (left[0] + back_x, left[1] + back_z)


def small_things(street: Street, camera: Camera, rng: np.random.Generator) -> list[Compact]:
    """Sample cars, people, trees and signs on the street and its pavements; only those that are clearly visible."""
    things: list[Compact] = []
    taken: list[tuple[float, float]] = []
    cars = int(rng.integers(4, 8))
    for index in range(cars):
        # In a view along the street, the depths are stratified so that the cars cover the whole range of sizes.
        fraction = (index + rng.uniform()) / cars
        z = float(rng.uniform(-11, 11) if _across(camera) else 6.0 * 6.0**fraction)
        side = float(rng.choice([-1, 1]))
        parked = rng.uniform() < 0.35
        lane = side * (street.half - 1.1 if parked else 0.5 * street.half)
        if any(abs(z - other) < 6 and lane * other_lane > 0 for other, other_lane in taken):
            continue
        taken.append((z, lane))
        heading = street.heading(z) + (math.pi if side < 0 else 0.0) + float(rng.normal(0, 0.03))
        things.append(any_car(street.middle(z) + lane, z, heading, rng))
    if street.crossing is not None and not _across(camera) and rng.uniform() < 0.7:
        heading = float(rng.choice([-1, 1])) * math.pi / 2
        x = street.middle(street.crossing) + float(rng.uniform(-4, 4))
        things.append(any_car(x, street.crossing - 0.5 * street.side_half * math.copysign(1, heading), heading, rng))
    wanted = int(rng.integers(4, 9))
    for attempt in range(60):
        position = _seen(camera, 2.7, (5.0, 14.0)[attempt % 2], rng)
        lateral = abs(position[0] - street.middle(position[1]))
        on_zebra = street.zebra is not None and 0 < position[1] - street.zebra < 2.8
        if wanted and (street.half + 0.3 < lateral < street.front - 0.2 or (on_zebra and lateral < street.half)):
            things.append(any_person(*position, rng))
            wanted -= 1
    curbs = [(any_tree, 7.0, 0.9)] * int(rng.integers(1, 5)) + [(any_sign, 5.0, 0.5)] * int(rng.integers(2, 5))
    for any_thing, nearest, inside in curbs:
        x, z = _seen(camera, nearest, 20.0, rng)
        side = 1 if x > street.middle(z) else -1
        if street.crossing is None or abs(z - street.crossing) > street.side_half + 0.6:
            things.append(any_thing(street.middle(z) + side * (street.half + inside), z, rng))
    return _prominent(things, camera)


def _seen(camera: Camera, nearest: float, farthest: float, rng: np.random.Generator) -> tuple[float, float]:
    """Sample a visible ground position (x, z) whose depth is log-uniform between ``nearest`` and ``farthest``."""
    depth = float(nearest * (farthest / nearest) ** rng.uniform())
    return camera.ground(float(rng.uniform(0.03, 0.97)) * WIDTH * SCALE, depth)


def _prominent(things: list[Compact], camera: Camera) -> list[Compact]:
    """Return the objects that are not too near, too small, mostly occluded, or mostly outside the image."""
    taken = np.zeros((HEIGHT, WIDTH), dtype=bool)
    kept = []
    for thing in sorted(things, key=lambda thing: thing.depth(camera)):
        depth = thing.depth(camera)
        if depth < 2.4:
            continue
        unit = camera.scale(depth) / SCALE
        width, height = (unit * meters for meters in thing.extent())
        x, y = (value / SCALE for value in camera.point((thing.x, 0.0, thing.z)))
        rows = slice(max(0, round(y - height)), max(0, round(y)))
        columns = slice(max(0, round(x - width / 2)), max(0, round(x + width / 2)))
        free = int((~taken[rows, columns]).sum())
        if free < max(60, 0.5 * height * width):
            continue
        taken[rows, columns] = True
        kept.append(thing)
    return kept
