"""Cars: side outlines extruded to a width, so that one shape yields every view."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scaleprotoseg.data.scenes.camera import Camera, Position, facing
from scaleprotoseg.data.scenes.canvas import Canvas, Color, Point, Surface, mix, scaled
from scaleprotoseg.data.scenes.light import Light

_PAINTS: tuple[Color, ...] = (
    (232, 232, 230), (198, 202, 206), (140, 144, 150), (96, 100, 106), (44, 46, 52), (172, 40, 38), (40, 74, 140),
    (108, 140, 176), (126, 92, 66), (188, 166, 130), (52, 92, 70), (226, 184, 52), (206, 110, 48), (112, 36, 50),
)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """Side view of a car model; points are (along, up) in meters, with the front at positive ``along``.

    Attributes:
        outline: Corners from the rear bumper over the roof to the front bumper.
        glass: Indices into ``outline`` at which a pane across the car starts (rear window, windshield).
        windows: Outlines of the side windows.
        axles: Positions of the axles along the car.
        wheel: Radius of a wheel.
        belt: Height above which the cabin narrows.
    """

    outline: tuple[Point, ...]
    glass: tuple[int, ...]
    windows: tuple[tuple[Point, ...], ...]
    axles: tuple[float, float]
    wheel: float
    belt: float


_SALOON = Shape(
    outline=(
        (-2.2, 0.3), (-2.25, 0.92), (-1.55, 1.0), (-0.95, 1.42),
        (0.3, 1.45), (1.05, 0.98), (2.1, 0.82), (2.2, 0.3),
    ),
    glass=(2, 4),
    windows=(
        ((-1.35, 1.0), (-0.25, 1.0), (-0.25, 1.36), (-0.88, 1.34)),
        ((-0.13, 1.0), (0.92, 0.98), (0.28, 1.37), (-0.13, 1.36)),
    ),
    axles=(-1.35, 1.4),
    wheel=0.34,
    belt=0.98,
)  # fmt: skip
_HATCHBACK = Shape(
    outline=((-1.9, 0.3), (-1.92, 0.98), (-1.45, 1.48), (0.4, 1.52), (1.1, 1.02), (1.8, 0.88), (1.9, 0.3)),
    glass=(1, 3),
    windows=(
        ((-1.6, 1.03), (-0.4, 1.02), (-0.4, 1.42), (-1.28, 1.4)),
        ((-0.26, 1.02), (0.95, 1.01), (0.36, 1.43), (-0.26, 1.42)),
    ),
    axles=(-1.2, 1.2),
    wheel=0.33,
    belt=1.0,
)
_OFF_ROADER = Shape(
    outline=((-2.2, 0.38), (-2.25, 1.1), (-2.0, 1.72), (0.3, 1.76), (0.95, 1.18), (2.05, 1.05), (2.2, 0.38)),
    glass=(1, 3),
    windows=(
        ((-1.95, 1.2), (-1.0, 1.2), (-1.0, 1.62), (-1.8, 1.6)),
        ((-0.85, 1.2), (0.8, 1.18), (0.26, 1.65), (-0.85, 1.63)),
    ),
    axles=(-1.35, 1.4),
    wheel=0.4,
    belt=1.15,
)
_VAN = Shape(
    outline=((-2.5, 0.35), (-2.5, 1.2), (-2.42, 2.05), (1.2, 2.1), (1.9, 1.25), (2.45, 1.05), (2.5, 0.35)),
    glass=(1, 3),
    windows=(((0.35, 1.25), (1.72, 1.25), (1.15, 1.92), (0.35, 1.92)),),
    axles=(-1.55, 1.6),
    wheel=0.38,
    belt=1.2,
)
_SHAPES = (_SALOON, _HATCHBACK, _OFF_ROADER, _VAN)


@dataclass(frozen=True)
class Car:
    """A car on the road.

    Attributes:
        x: Position of the middle of the car across the street in meters.
        z: Position of the middle of the car along the street in meters.
        heading: Direction of the front in radians; 0 along the street.
        shape: Side view.
        paint: Color of the body.
        width: Width in meters.
        braking: True if the rear lights are bright.
    """

    x: float
    z: float
    heading: float
    shape: Shape
    paint: Color
    width: float
    braking: bool

    def depth(self, camera: Camera) -> float:
        """Return the depth in meters."""
        return camera.depth(self.x, self.z)

    def extent(self) -> tuple[float, float]:
        """Return the approximate visible width and height in meters."""
        turned = abs(math.sin(self.heading))
        return self.width + turned * (4.4 - self.width), max(up for _, up in self.shape.outline)

    def shadow(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Cast the shadow in direct light and darken the ground under the car."""
        first, last = self.shape.outline[0][0], self.shape.outline[-1][0]
        corners = ((first, -1.0), (last, -1.0), (last, 1.0), (first, 1.0))
        under = [self._at(along, 0.0, 1.05 * side) for along, side in corners]
        dx, dz = -light.sun[0] / max(light.sun[1], 0.4), -light.sun[2] / max(light.sun[1], 0.4)
        canvas.shadow(camera.polygon([(x + dx, y, z + dz) for x, y, z in under]), light.shadow)
        canvas.shadow(camera.polygon(under), 0.75)

    def draw(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Paint the tires, the visible sides, then every pane and panel that faces the camera."""
        depth = self.depth(camera)
        outline = self.shape.outline
        self._treads(canvas, camera, depth)
        for side in (-1.0, 1.0):
            body = camera.polygon([self._at(along, up, side) for along, up in outline[:: round(-side)]])
            if facing(body):
                self._side(body, side, canvas, camera, light, depth)
        strips = [(index, self._strip(outline[index], outline[index + 1])) for index in range(len(outline) - 1)]
        strips.sort(key=lambda strip: -camera.depth(strip[1][0][0], strip[1][0][2]))
        for index, strip in strips:
            corners = camera.polygon(strip)
            if not facing(corners):
                continue
            (along, up), (next_along, next_up) = outline[index], outline[index + 1]
            length = math.dist((along, up), (next_along, next_up))
            rise, run = (next_up - up) / length, (next_along - along) / length
            normal = (-rise * math.sin(self.heading), run, -rise * math.cos(self.heading))
            canvas.polygon(corners, light.shade(self.paint, normal), Surface.BODY, depth)
            if index in self.shape.glass:
                self._pane(strip, canvas, camera, light, depth)
        for end in (0, 1):
            self._face(end, canvas, camera, light, depth)

    def _at(self, along: float, up: float, side: float) -> Position:
        """Return the street position of a point of the car; ``side`` is -1 at its left side and 1 at its right side."""
        top = max(height for _, height in self.shape.outline)
        narrow = 1.0 - 0.2 * max(0.0, up - self.shape.belt) / (top - self.shape.belt)
        across = 0.5 * self.width * side * narrow
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        return self.x + along * sin + across * cos, up, self.z + along * cos - across * sin

    def _strip(self, first: Point, second: Point, inset: float = 0.0) -> list[Position]:
        """Return the panel across the car between two corners of its outline, counterclockwise as seen from outside."""
        (a, b), (c, d) = first, second
        if inset:
            a, b, c, d = a + inset * (c - a), b + inset * (d - b), c - inset * (c - a), d - inset * (d - b)
        wide = 1.0 - inset
        return [self._at(a, b, -wide), self._at(a, b, wide), self._at(c, d, wide), self._at(c, d, -wide)]

    def _pane(self, strip: list[Position], canvas: Canvas, camera: Camera, light: Light, depth: float) -> None:
        middle = [sum(position[axis] for position in strip) / 4 for axis in range(3)]
        shrunk = [
            (p[0] + 0.12 * (middle[0] - p[0]), p[1] + 0.12 * (middle[1] - p[1]), p[2] + 0.12 * (middle[2] - p[2]))
            for p in strip
        ]
        glass = mix((34, 40, 48), light.zenith, 0.3)
        canvas.polygon(camera.polygon(shrunk), glass, Surface.WINDSCREEN, depth)
        sheen = [shrunk[3], shrunk[0], shrunk[2]]
        canvas.polygon(camera.polygon(sheen), mix(glass, light.haze, 0.25), Surface.WINDSCREEN, depth)

    def _side(self, body: list[Point], side: float, canvas: Canvas, camera: Camera, light: Light, depth: float) -> None:
        normal = (side * math.cos(self.heading), 0.0, -side * math.sin(self.heading))
        paint = light.shade(self.paint, normal)
        canvas.polygon(body, paint, Surface.BODY, depth)
        first, last = self.shape.outline[0], self.shape.outline[-1]
        sill = [(first[0], first[1]), (last[0], last[1]), (last[0], last[1] + 0.16), (first[0], first[1] + 0.16)]
        canvas.polygon(camera.polygon([self._at(*p, side) for p in sill]), scaled(paint, 0.72), Surface.BODY, depth)
        for window in self.shape.windows:
            pane = camera.polygon([self._at(along, up, side) for along, up in window])
            canvas.polygon(pane, mix((34, 40, 48), light.zenith, 0.22), Surface.WINDSCREEN, depth)
        for axle in self.shape.axles:
            for factor, tone in ((1.22, (18, 18, 20)), (1.0, (34, 34, 38)), (0.55, (150, 152, 156))):
                radius = factor * self.shape.wheel
                surface = Surface.BODY if factor > 1.1 else Surface.WHEEL
                positions = [
                    self._at(
                        axle + radius * math.cos(a), max(0.0, self.shape.wheel + radius * math.sin(a)), 1.01 * side
                    )
                    for a in np.linspace(0, 2 * math.pi, 14, endpoint=False).tolist()
                ]
                canvas.polygon(camera.polygon(positions), tone, surface, depth)
        for end, color in ((0, (178, 30, 28)), (-1, (240, 232, 206))):
            along, up = self.shape.outline[end][0] * 0.985, self.shape.belt * 0.7
            inner = along * 0.9
            lamp = [(along, up), (inner, up), (inner, up + 0.2), (along, up + 0.2)]
            canvas.polygon(camera.polygon([self._at(*p, side) for p in lamp]), color, Surface.LAMP, depth)

    def _treads(self, canvas: Canvas, camera: Camera, depth: float) -> None:
        for axle in self.shape.axles:
            for inner, outer in ((-0.98, -0.68), (0.68, 0.98)):
                tread = [self._at(axle, up, side) for up, side in ((0, inner), (0, outer), (0.5, outer), (0.5, inner))]
                canvas.polygon(camera.polygon(tread), (26, 26, 28), Surface.WHEEL, depth)

    def _face(self, end: int, canvas: Canvas, camera: Camera, light: Light, depth: float) -> None:
        """Paint lamps, bumper and license plate or grille on the rear (``end`` 0) or the front (``end`` 1)."""
        outline = self.shape.outline
        (low_along, low), (high_along, high) = (outline[0], outline[1]) if end == 0 else (outline[-1], outline[-2])
        hand = 1.0 if end == 0 else -1.0

        def panel(left: float, right: float, bottom: float, top: float) -> list[Point]:
            positions = []
            for side, fraction in ((left, bottom), (right, bottom), (right, top), (left, top)):
                along = low_along + fraction * (high_along - low_along)
                positions.append(self._at(along * 1.01, low + fraction * (high - low), side * hand))
            return camera.polygon(positions)

        if not facing(panel(-1, 1, 0, 1)):
            return
        canvas.polygon(
            panel(-0.98, 0.98, 0.0, 0.2), scaled(light.shade(self.paint, (0, 0, 0)), 0.5), Surface.BODY, depth
        )
        if end == 0:
            lamp: Color = (255, 58, 44) if self.braking or light.dusk else (176, 28, 28)
            canvas.polygon(panel(-0.28, 0.28, 0.28, 0.48), (228, 226, 214), Surface.BODY, depth)
        else:
            lamp = (255, 250, 226) if light.dusk else (226, 230, 232)
            canvas.polygon(panel(-0.5, 0.5, 0.3, 0.62), (34, 36, 40), Surface.BODY, depth)
        for left, right in ((-0.97, -0.62), (0.62, 0.97)):
            canvas.polygon(panel(left, right, 0.55, 0.9), lamp, Surface.LAMP, depth)


def any_car(x: float, z: float, heading: float, rng: np.random.Generator) -> Car:
    """Sample the model and the color of a car at a given position."""
    shape = _SHAPES[int(rng.choice(len(_SHAPES), p=[0.32, 0.3, 0.2, 0.18]))]
    paint = scaled(_PAINTS[int(rng.integers(len(_PAINTS)))], float(rng.uniform(0.85, 1.08)))
    width = 1.95 if shape is _VAN else float(rng.uniform(1.72, 1.88))
    return Car(x, z, heading, shape, paint, width, bool(rng.uniform() < 0.3))
