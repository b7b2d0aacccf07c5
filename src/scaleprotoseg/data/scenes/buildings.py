"""Buildings: boxes with roofs and with windows, doors and shop fronts drawn in perspective on their walls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scaleprotoseg.data.scenes.camera import NEAR, Camera, Position, facing
from scaleprotoseg.data.scenes.canvas import SCALE, Canvas, Color, Surface, mix, scaled
from scaleprotoseg.data.scenes.light import Light

_WALLS: tuple[Color, ...] = (
    (176, 92, 70), (150, 76, 62), (204, 176, 134), (222, 206, 176), (196, 190, 182), (150, 150, 152),
    (122, 126, 132), (136, 156, 178), (168, 188, 204), (206, 148, 112), (226, 196, 120), (160, 132, 104),
    (142, 164, 140), (214, 170, 166), (232, 228, 220), (104, 96, 98), (112, 136, 160), (96, 110, 92),
)  # fmt: skip
_ROOFS: tuple[Color, ...] = ((92, 72, 68), (136, 70, 54), (74, 80, 92), (110, 104, 100), (62, 66, 70), (122, 88, 62))
_DOORS: tuple[Color, ...] = ((96, 52, 40), (40, 66, 60), (52, 58, 92), (132, 40, 40), (70, 60, 52), (44, 44, 48))
_AWNINGS: tuple[Color, ...] = ((186, 54, 48), (48, 104, 84), (44, 76, 136), (214, 160, 60), (110, 58, 96), (60, 60, 64))


Plot = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Wall:
    """An outer wall of a building.

    Attributes:
        start: Position (x, z) of the left end on the ground, as seen from outside, in meters.
        end: Position (x, z) of the right end on the ground, as seen from outside, in meters.
        height: Height in meters.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    height: float

    @cached_property
    def length(self) -> float:
        """Distance between the two ends in meters."""
        return math.dist(self.start, self.end)

    @cached_property
    def normal(self) -> tuple[float, float, float]:
        """Outward unit normal."""
        along_x, along_z = (self.end[0] - self.start[0]) / self.length, (self.end[1] - self.start[1]) / self.length
        return along_z, 0.0, -along_x

    def at(self, along: float, up: float, out: float = 0.0) -> Position:
        """Return the position ``along`` meters from the left end, ``up`` above the ground and ``out`` in front."""
        normal_x, _, normal_z = self.normal
        return self.start[0] - along * normal_z + out * normal_x, up, self.start[1] + along * normal_x + out * normal_z

    def panel(self, left: float, right: float, bottom: float, top: float, out: float = 0.0) -> list[Position]:
        """Return the four corners of a rectangle on the wall, counterclockwise as seen from outside."""
        return [
            self.at(left, bottom, out), self.at(right, bottom, out), self.at(right, top, out), self.at(left, top, out)
        ]  # fmt: skip


@dataclass(frozen=True)
class Building:
    """A building on a plot with four corners.

    Attributes:
        plot: Corners (x, z) in meters, ordered so that the outside lies to the right when walking along each wall from
            one corner to the next; the first wall faces the street.
        height: Height of the eaves in meters.
        color: Color of the walls.
        roof: Shape of the roof: ``flat``, ``mansard`` or ``pitched``.
        roof_color: Color of the roof.
        shop: True if the ground floor is a shop.
        window: Width and height of a window in meters; nearly as wide as the bay for a ribbon window.
        bay: Horizontal distance between the centers of neighboring windows in meters.
        storey: Height of one floor in meters.
        brick: True if courses of bricks are visible.
        seed: Seed of the details.
    """

    plot: Plot
    height: float
    color: Color
    roof: str
    roof_color: Color
    shop: bool
    window: tuple[float, float]
    bay: float
    storey: float
    brick: bool
    seed: int

    @cached_property
    def walls(self) -> list[Wall]:
        """The four walls, starting with the street front."""
        return [
            Wall(corner, self.plot[(index + 1) % len(self.plot)], self.height) for index, corner in enumerate(self.plot)
        ]

    def depth(self, camera: Camera) -> float:
        """Return the depth of the far end of the street front in meters, by which the scene is sorted."""
        return max(camera.depth(*self.plot[0]), camera.depth(*self.plot[1]))

    def shadow(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Cast the shadow of the box onto the ground."""
        reach = self.height / max(light.sun[1], 0.25)
        dx, dz = -light.sun[0] * reach, -light.sun[2] * reach
        for wall in self.walls:
            (x0, z0), (x1, z1) = wall.start, wall.end
            ground = [(x0, 0.0, z0), (x1, 0.0, z1), (x1 + dx, 0.0, z1 + dz), (x0 + dx, 0.0, z0 + dz)]
            canvas.shadow(camera.polygon(ground), light.shadow)

    def draw(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Paint the walls that face the camera, the street front last, and the roof."""
        rng = np.random.default_rng(self.seed)
        for index in (2, 1, 3, 0):
            wall = self.walls[index]
            outline = camera.polygon(wall.panel(0, wall.length, 0, wall.height))
            if not facing(outline) or not _on_canvas(outline, canvas):
                continue
            self._wall(wall, canvas, camera, light, rng, front=index == 0)
        self._roof(canvas, camera, light)

    def _wall(
        self, wall: Wall, canvas: Canvas, camera: Camera, light: Light, rng: np.random.Generator, *, front: bool
    ) -> None:
        color = light.shade(self.color, wall.normal)
        pieces = max(1, round(wall.length / 6))
        step = wall.length / pieces
        for piece in range(pieces):
            panel = wall.panel(piece * step, (piece + 1) * step, 0, wall.height)
            depth = max(NEAR, camera.depth(*(wall.at((piece + 0.5) * step, 0)[::2])))
            canvas.polygon(camera.polygon(panel), scaled(color, 1 + 0.02 * (piece % 2)), Surface.WALL, depth)
        if self.brick:
            self._courses(wall, color, canvas, camera)
        floor = 0
        if front:
            floor = 1
            (self._shop if self.shop else self._entrance)(wall, canvas, camera, light, rng)
        self._windows(wall, floor, canvas, camera, light, rng)

    def _courses(self, wall: Wall, color: Color, canvas: Canvas, camera: Camera) -> None:
        depth = max(NEAR, min(camera.depth(*wall.start), camera.depth(*wall.end)))
        spacing = max(0.3, 7.0 / camera.scale(depth))
        up = spacing
        while up < wall.height and depth < 22:
            line = camera.polygon(wall.panel(0, wall.length, up, up + 0.2 * spacing))
            canvas.polygon(line, scaled(color, 0.9), Surface.WALL, depth + 2)
            up += spacing

    def _windows(
        self, wall: Wall, floor: int, canvas: Canvas, camera: Camera, light: Light, rng: np.random.Generator
    ) -> None:
        storeys = int(wall.height / self.storey)
        columns = max(1, int((wall.length - 0.6) / self.bay))
        left = (wall.length - columns * self.bay) / 2
        width, height = self.window
        glass = mix((58, 70, 86), light.zenith, 0.35)
        border = light.shade((226, 222, 214), wall.normal)
        tones = rng.uniform(0.7, 1.25, (columns, storeys)).tolist()
        lit = (rng.uniform(size=(columns, storeys)) < light.dusk).tolist()
        for column in range(columns):
            along = left + (column + 0.5) * self.bay
            edges = [camera.upright(*wall.at(along + off, 0)[::2]) for off in (-width / 2, width / 2)]
            frame = [camera.upright(*wall.at(along + off, 0)[::2]) for off in (-width / 2 - 0.1, width / 2 + 0.1)]
            (a, b), (outer_a, outer_b) = edges, frame
            if a is None or b is None or outer_a is None or outer_b is None:
                continue
            if max(a[0], b[0]) < 0 or min(a[0], b[0]) > canvas.width or a[1] * min(width, height) < SCALE:
                continue
            depth = 2 * camera.focal / (a[1] + b[1])
            large = b[0] - a[0] > 4 * SCALE
            for storey in range(floor, storeys):
                sill = storey * self.storey + 0.5 * (self.storey - height)
                tone = tones[column][storey]
                pane: Color = (252, 190 + 20 * tone, 120) if lit[column][storey] else scaled(glass, tone)
                if large:
                    outer = camera.between(outer_a, outer_b, sill - 0.1, sill + height + 0.1)
                    canvas.polygon(outer, border, Surface.GLASS, depth)
                inner = camera.between(a, b, sill, sill + height)
                canvas.polygon(inner, pane, Surface.GLASS, depth)
                if large:
                    canvas.polygon([inner[0], inner[3], inner[2]], mix(pane, light.haze, 0.2), Surface.GLASS, depth)

    def _entrance(self, wall: Wall, canvas: Canvas, camera: Camera, light: Light, rng: np.random.Generator) -> None:
        door = _pick(_DOORS, rng)
        columns = max(1, int((wall.length - 0.6) / self.bay))
        left = (wall.length - columns * self.bay) / 2
        entrance = int(rng.integers(columns))
        for column in range(columns):
            along = left + (column + 0.5) * self.bay
            depth = camera.depth(*wall.at(along, 0)[::2])
            if depth < NEAR:
                continue
            if column == entrance:
                outer = camera.polygon(wall.panel(along - 0.75, along + 0.75, 0, 2.55))
                canvas.polygon(outer, light.shade(scaled(door, 1.7), wall.normal), Surface.DOOR, depth)
                inner = camera.polygon(wall.panel(along - 0.55, along + 0.55, 0, 2.35))
                canvas.polygon(inner, light.shade(door, wall.normal), Surface.DOOR, depth)
            else:
                width = min(self.window[0], 1.6)
                pane = camera.polygon(wall.panel(along - width / 2, along + width / 2, 0.9, 2.4))
                canvas.polygon(pane, mix((58, 70, 86), light.zenith, 0.3), Surface.GLASS, depth)

    def _shop(self, wall: Wall, canvas: Canvas, camera: Camera, light: Light, rng: np.random.Generator) -> None:
        board, door = _pick(_AWNINGS, rng), _pick(_DOORS, rng)
        depth = max(NEAR, camera.depth(*wall.at(wall.length / 2, 0)[::2]))
        inside: Color = (250, 214, 150) if light.dusk else mix((84, 92, 98), light.haze, 0.2)
        panes = max(1, round(wall.length / 3.2))
        step = wall.length / panes
        entrance = int(rng.integers(panes))
        for pane in range(panes):
            a, b = pane * step + 0.2, (pane + 1) * step - 0.2
            if pane == entrance:
                canvas.polygon(camera.polygon(wall.panel(b - 1.2, b, 0, 2.5)), door, Surface.DOOR, depth)
                b -= 1.4
            if b > a:
                canvas.polygon(camera.polygon(wall.panel(a, b, 0.5, 2.5)), inside, Surface.GLASS, depth)
        fascia = camera.polygon(wall.panel(0, wall.length, 2.6, 3.2, out=0.15))
        canvas.polygon(fascia, light.shade(board, wall.normal), Surface.WALL, depth)

    def _roof(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        walls, top = self.walls, self.height
        depth = max(NEAR, self.depth(camera) - 3)
        if self.roof == "flat":
            for wall in (*walls[1:], walls[0]):
                band = camera.polygon(wall.panel(-0.2, wall.length + 0.2, top - 0.3, top + 0.5, out=0.25))
                if facing(band):
                    canvas.polygon(band, light.shade(self.roof_color, wall.normal), Surface.ROOF, depth)
            return
        rise, fraction = (2.6, 0.28) if self.roof == "mansard" else (0.42 * walls[1].length, 0.0)
        heads = [self._head(corner, fraction) for corner in range(4)]
        for index in (2, 1, 3, 0):
            wall = walls[index]
            eaves = [wall.at(0, top), wall.at(wall.length, top)]
            gable = self.roof == "pitched" and index % 2 == 1
            if gable:
                outline = camera.polygon([*eaves, wall.at(wall.length / 2, top + rise)])
            elif self.roof == "pitched":
                before, after = walls[index - 1], walls[(index + 1) % 4]
                ridge = [after.at(after.length / 2, top + rise), before.at(before.length / 2, top + rise)]
                outline = camera.polygon([*eaves, *ridge])
            else:
                (right_x, right_z), (left_x, left_z) = heads[(index + 1) % 4], heads[index]
                outline = camera.polygon([*eaves, (right_x, top + rise, right_z), (left_x, top + rise, left_z)])
            if not facing(outline) or not _on_canvas(outline, canvas):
                continue
            if gable:
                canvas.polygon(outline, light.shade(self.color, wall.normal), Surface.WALL, depth)
            else:
                lean = (wall.normal[0] * 0.7, 0.7, wall.normal[2] * 0.7)
                canvas.polygon(outline, light.shade(self.roof_color, lean), Surface.ROOF, depth)

    def _head(self, corner: int, fraction: float) -> tuple[float, float]:
        """Return the upper end (x, z) of a sloping roof edge: ``fraction`` of the way to the middle of the plot."""
        x, z = self.plot[corner]
        middle_x, middle_z = (sum(position[axis] for position in self.plot) / 4 for axis in range(2))
        return x + fraction * (middle_x - x), z + fraction * (middle_z - z)


def any_building(plot: Plot, height: float, rng: np.random.Generator) -> Building:
    """Sample the style of a building on a given plot."""
    storey = float(rng.uniform(2.9, 3.5))
    bay = float(rng.uniform(2.1, 3.2))
    wide = rng.uniform() < 0.2
    window = (bay - 0.25 if wide else float(rng.uniform(0.45, 0.6)) * bay, float(rng.uniform(1.4, 2.0)))
    color = scaled(_pick(_WALLS, rng), float(rng.uniform(0.85, 1.1)))
    roofs = ["flat", "mansard", "pitched"]
    return Building(
        plot=plot,
        height=max(1, round(height / storey)) * storey + 0.5,
        color=color,
        roof=roofs[int(rng.integers(3))] if height < 14 else "flat",
        roof_color=scaled(_pick(_ROOFS, rng), float(rng.uniform(0.85, 1.15))),
        shop=bool(rng.uniform() < 0.45),
        window=window,
        bay=bay,
        storey=storey,
        brick=bool(rng.uniform() < 0.5),
        seed=int(rng.integers(2**31)),
    )


def _pick(colors: tuple[Color, ...], rng: np.random.Generator) -> Color:
    return colors[int(rng.integers(len(colors)))]


def _on_canvas(points: list[tuple[float, float]], canvas: Canvas) -> bool:
    columns = [x for x, _ in points]
    return max(columns) > 0 and min(columns) < canvas.width
