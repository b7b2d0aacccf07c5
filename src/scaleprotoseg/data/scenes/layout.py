"""The plan of a scene: where the camera stands, and what stands where along the street."""

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
_FAR = 62.0


class Thing(Protocol):
    """Anything that stands on the ground."""

    def depth(self, camera: Camera) -> float:
        """Metres in front of the camera."""

    def shadow(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Notes its shadow on the ground."""

    def draw(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Paints it."""


class Compact(Thing, Protocol):
    """A thing small enough to be hidden as a whole."""

    @property
    def x(self) -> float:
        """Place across the street."""

    @property
    def z(self) -> float:
        """Place along the street."""

    def extent(self) -> tuple[float, float]:
        """Rough width and height in metres."""


def any_camera(street: Street, rng: np.random.Generator) -> Camera:
    """Looks along the street, or across it from one of its pavements."""
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
    """Rows of houses on both sides, broken by side roads and gaps with trees, and what closes the view."""
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
    """Houses and trees that close the view at both ends of the street and, where one sees it, beside it."""
    # Middle of each row, and the direction from its left to its right end as seen from the street.
    rows = [((street.middle(_FAR), _FAR), (1, 0)), ((street.middle(-_FAR), -_FAR), (-1, 0))]
    if _across(camera) or street.crossing is not None:
        rows += [((side * (street.front + 24), 0.0), (0, -side)) for side in (-1, 1)]
    things: list[Thing] = []
    for (x, z), (along_x, along_z) in rows:
        place = -45.0
        while place < 45.0:
            wide, back = float(rng.uniform(8, 16)), float(rng.uniform(0, 10))
            left = (x + along_x * place - along_z * back, z + along_z * place + along_x * back)
            right = (left[0] + along_x * wide, left[1] + along_z * wide)
            if rng.uniform() < 0.3:
                things.append(any_tree(*left, rng))
            else:
                things.append(any_building(_plot(left, right, 9.0), float(rng.uniform(5, 12)), rng))
            place += wide
    return things


def _plot(left: tuple[float, float], right: tuple[float, float], deep: float) -> Plot:
    """The ground of a house ``deep`` metres deep, given the corners of its front as seen from the street."""
    length = math.dist(left, right)
    back_x, back_z = -(right[1] - left[1]) / length * deep, (right[0] - left[0]) / length * deep
    return left, right, (right[0] + back_x, right[1] + back_z), (left[0] + back_x, left[1] + back_z)


def small_things(street: Street, camera: Camera, rng: np.random.Generator) -> list[Compact]:
    """Cars in their lanes and at the kerb; people, trees and signs on the pavements; only what can be seen well."""
    things: list[Compact] = []
    taken: list[tuple[float, float]] = []
    cars = int(rng.integers(4, 8))
    for index in range(cars):
        # Looking along the street, the cars share out the range of sizes between them.
        share = (index + rng.uniform()) / cars
        z = float(rng.uniform(-11, 11) if _across(camera) else 6.0 * 6.0**share)
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
        place = _seen(camera, 2.7, (5.0, 14.0)[attempt % 2], rng)
        lateral = abs(place[0] - street.middle(place[1]))
        on_zebra = street.zebra is not None and 0 < place[1] - street.zebra < 2.8
        if wanted and (street.half + 0.3 < lateral < street.front - 0.2 or (on_zebra and lateral < street.half)):
            things.append(any_person(*place, rng))
            wanted -= 1
    kerbs = [(any_tree, 7.0, 0.9)] * int(rng.integers(1, 5)) + [(any_sign, 5.0, 0.5)] * int(rng.integers(2, 5))
    for any_thing, nearest, inside in kerbs:
        x, z = _seen(camera, nearest, 20.0, rng)
        side = 1 if x > street.middle(z) else -1
        if street.crossing is None or abs(z - street.crossing) > street.side_half + 0.6:
            things.append(any_thing(street.middle(z) + side * (street.half + inside), z, rng))
    return _prominent(things, camera)


def _seen(camera: Camera, nearest: float, farthest: float, rng: np.random.Generator) -> tuple[float, float]:
    """A place in view, the near ones as likely as the far ones by ratio of distance."""
    depth = float(nearest * (farthest / nearest) ** rng.uniform())
    return camera.ground(float(rng.uniform(0.03, 0.97)) * WIDTH * SCALE, depth)


def _prominent(things: list[Compact], camera: Camera) -> list[Compact]:
    """Leaves out what is too near, too small, or mostly behind nearer things or outside the picture."""
    taken = np.zeros((HEIGHT, WIDTH), dtype=bool)
    kept = []
    for thing in sorted(things, key=lambda thing: thing.depth(camera)):
        depth = thing.depth(camera)
        if depth < 2.4:
            continue
        unit = camera.scale(depth) / SCALE
        width, height = (unit * metres for metres in thing.extent())
        x, y = (value / SCALE for value in camera.point((thing.x, 0.0, thing.z)))
        rows = slice(max(0, round(y - height)), max(0, round(y)))
        columns = slice(max(0, round(x - width / 2)), max(0, round(x + width / 2)))
        free = int((~taken[rows, columns]).sum())
        if free < max(60, 0.5 * height * width):
            continue
        taken[rows, columns] = True
        kept.append(thing)
    return kept
