"""Trees: a trunk and a crown of many clumps of leaves, or of the tiers of a conifer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scaleprotoseg.data.scenes.camera import Camera
from scaleprotoseg.data.scenes.canvas import Canvas, Color, Surface, scaled
from scaleprotoseg.data.scenes.light import Light

_LEAVES: tuple[Color, ...] = (
    (84, 130, 62), (64, 108, 58), (110, 146, 74), (54, 92, 66), (132, 140, 66), (196, 146, 52), (186, 96, 46),
    (150, 62, 44), (134, 104, 64), (92, 118, 82),
)  # fmt: skip
_BARKS: tuple[Color, ...] = ((96, 74, 58), (74, 62, 54), (120, 104, 90), (148, 138, 124))


@dataclass(frozen=True)
class Tree:
    """A tree beside the street.

    Attributes:
        x: Position across the street in meters.
        z: Position along the street in meters.
        height: Height in meters.
        spread: Width of the crown in meters.
        bole: Fraction of the height that is below the crown.
        conifer: True for a tapering conifer.
        leaf: Color of the leaves.
        bark: Color of the trunk.
        seed: Seed of the details.
    """

    x: float
    z: float
    height: float
    spread: float
    bole: float
    conifer: bool
    leaf: Color
    bark: Color
    seed: int

    def depth(self, camera: Camera) -> float:
        """Return the depth in meters."""
        return camera.depth(self.x, self.z)

    def extent(self) -> tuple[float, float]:
        """Return the approximate width and height of the trunk in meters, as the view beside it is free."""
        return 0.5, self.height * self.bole

    def shadow(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Cast the round shadow of the crown and darken the ground at the trunk."""
        reach = self.height * 0.6 / max(light.sun[1], 0.35)
        x, z = self.x - light.sun[0] * reach, self.z - light.sun[2] * reach
        angles = [2 * math.pi * step / 12 for step in range(12)]
        for centre_x, centre_z, radius, strength in (
            (x, z, 0.45 * self.spread, light.shadow),
            (self.x, self.z, 0.5, 0.45),
        ):
            ground = [(centre_x + radius * math.cos(a), 0.0, centre_z + radius * math.sin(a)) for a in angles]
            canvas.shadow(camera.polygon(ground), strength)

    def draw(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Paint the trunk, then the crown: clumps from shaded to lit, or the tiers of a conifer from bottom to top."""
        depth = self.depth(camera)
        unit = camera.scale(depth)
        foot_x, foot_y = camera.point((self.x, 0.0, self.z))
        if not -self.spread * unit < foot_x < canvas.width + self.spread * unit:
            return
        rng = np.random.default_rng(self.seed)
        thick = 0.045 * self.height * unit
        lean = float(rng.uniform(-0.05, 0.05)) * self.height * unit
        fork = foot_y - self.height * (self.bole + 0.18) * unit
        bark = scaled(self.bark, light.ambient + 0.4 * light.direct)
        trunk = [(foot_x - 0.6 * thick, foot_y), (foot_x + 0.6 * thick, foot_y),
                 (foot_x + lean + 0.3 * thick, fork), (foot_x + lean - 0.3 * thick, fork)]  # fmt: skip
        canvas.polygon(trunk, bark, Surface.TRUNK, depth)
        lit = [trunk[0], (foot_x - 0.15 * thick, foot_y), (foot_x + lean - 0.1 * thick, fork), trunk[3]]
        canvas.polygon(lit, scaled(bark, 1.2), Surface.TRUNK, depth)
        top = foot_x + lean
        if self.conifer:
            self._tiers(canvas, top, foot_y, unit, depth, light, rng)
        else:
            self._clumps(canvas, camera, top, foot_y, unit, depth, light, rng)

    def _clumps(
        self,
        canvas: Canvas,
        camera: Camera,
        top: float,
        foot: float,
        unit: float,
        depth: float,
        light: Light,
        rng: np.random.Generator,
    ) -> None:
        tall = self.height * (1 - self.bole) * unit / 2
        wide = self.spread * unit / 2
        middle = foot - self.height * unit + tall
        number = int(min(46, max(9, 0.5 * wide)))
        angle, out = rng.uniform(0, 2 * math.pi, number), np.sqrt(rng.uniform(0, 1, number))
        size, tone = rng.uniform(0.2, 0.38, number), rng.uniform(0.88, 1.1, number)
        # Only the components of the direction of the sun that lie in the image plane matter: right and up.
        sun_right = light.sun[0] * math.cos(camera.yaw) - light.sun[2] * math.sin(camera.yaw)
        across, up = 0.78 * out * np.cos(angle), 0.78 * out * np.sin(angle)
        glow = (across * sun_right + up * max(light.sun[1], 0.3)) / 0.78
        heart = scaled(self.leaf, light.ambient + 0.1 * light.direct)
        canvas.polygon(_ragged((top, middle), 0.8 * min(tall, wide), rng), heart, Surface.CROWN, depth)
        for index in np.argsort(glow, kind="stable"):
            bright = (light.ambient + light.direct * (0.45 + 0.55 * glow[index])) * tone[index]
            centre = (top + float(across[index]) * wide, middle - float(up[index]) * tall)
            radius = float(size[index]) * min(tall, wide) * 1.05
            color = scaled(self.leaf, float(max(bright, 0.35)))
            canvas.polygon(_ragged(centre, radius, rng), color, Surface.CROWN, depth)

    def _tiers(
        self,
        canvas: Canvas,
        top: float,
        foot: float,
        unit: float,
        depth: float,
        light: Light,
        rng: np.random.Generator,
    ) -> None:
        tiers = 5
        base, height = foot - self.height * self.bole * unit, self.height * (1 - self.bole) * unit
        for tier in range(tiers):
            low = base - height * tier / (tiers + 0.6)
            peak = low - height * 0.36
            half = 0.36 * self.spread * unit * (1 - tier / (tiers + 0.4))
            jag = rng.uniform(-0.06, 0.06, 4) * height
            left = [(top - half, low + jag[0]), (top - 0.5 * half, low + jag[1] - 2), (top, low + jag[2]), (top, peak)]
            right = [(top, low + jag[2]), (top + 0.5 * half, low + jag[3] - 2), (top + half, low + jag[0]), (top, peak)]
            for side, factor in ((left, 0.85), (right, 1.1)):
                color = scaled(self.leaf, (light.ambient + 0.5 * light.direct) * factor * (0.9 + 0.04 * tier))
                canvas.polygon(side, color, Surface.CROWN, depth)


def any_tree(x: float, z: float, rng: np.random.Generator) -> Tree:
    """Sample the species and the season of a tree at a given position."""
    height = float(rng.uniform(3.8, 8.0))
    conifer = bool(rng.uniform() < 0.15)
    leaf = _LEAVES[3] if conifer else _LEAVES[int(rng.integers(len(_LEAVES)))]
    return Tree(
        x=x,
        z=z,
        height=height,
        spread=height * float(rng.uniform(0.5, 0.75)),
        bole=0.12 if conifer else float(rng.uniform(0.25, 0.38)),
        conifer=conifer,
        leaf=scaled(leaf, float(rng.uniform(0.85, 1.15))),
        bark=_BARKS[int(rng.integers(len(_BARKS)))],
        seed=int(rng.integers(2**31)),
    )


def _ragged(centre: tuple[float, float], radius: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    corners = 9
    reach = (radius * rng.uniform(0.72, 1.2, corners)).tolist()
    angles = [2 * math.pi * corner / corners for corner in range(corners)]
    return [(centre[0] + r * math.cos(a), centre[1] + r * math.sin(a)) for r, a in zip(reach, angles, strict=True)]
