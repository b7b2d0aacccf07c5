"""Sky and ground: the background, colored pixel by pixel by following the lines of sight."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from scaleprotoseg.data.scenes.camera import Camera
from scaleprotoseg.data.scenes.canvas import SCALE, Canvas, Color, Surface
from scaleprotoseg.data.scenes.light import Light

Plane = npt.NDArray[np.float32]

_PAINT: Color = (226.0, 224.0, 214.0)


@dataclass(frozen=True)
class Street:
    """Plan and materials of a street along x = 0; all lengths are in meters.

    Attributes:
        half: Half the width of the roadway.
        paving: Width of each pavement.
        bend: Sideways shift of the center line divided by the squared distance along it; 0 for a straight street.
        crossing: Position of the middle of a side road along the street, or None.
        side_half: Half the width of that side road.
        zebra: Position along the street where a crosswalk begins, or None.
        lanes: True if the center line is dashed, False if it is solid.
        asphalt: Color of the roadway.
        slabs: Color of the pavement.
        slab: Size of the paving slabs.
    """

    half: float
    paving: float
    bend: float
    crossing: float | None
    side_half: float
    zebra: float | None
    lanes: bool
    asphalt: Color
    slabs: Color
    slab: float

    def middle(self, z: float) -> float:
        """Return the x coordinate of the center line at a position along the street."""
        return self.bend * z * abs(z)

    def heading(self, z: float) -> float:
        """Return the direction of the center line in radians; 0 along z."""
        return math.atan(2 * self.bend * abs(z))

    @property
    def front(self) -> float:
        """Distance of the building line from the center line."""
        return self.half + self.paving


def any_street(rng: np.random.Generator) -> Street:
    """Sample the plan and the materials of a street."""
    gray = float(rng.uniform(64, 106))
    slab = float(rng.uniform(148, 204))
    warm = float(rng.uniform(-0.06, 0.12))
    straight = rng.uniform() < 0.6
    return Street(
        half=float(rng.uniform(3.0, 4.8)),
        paving=float(rng.uniform(3.2, 5.2)),
        bend=0.0 if straight else float(rng.choice([-1, 1]) * rng.uniform(0.002, 0.007)),
        crossing=float(rng.uniform(14, 26)) if rng.uniform() < 0.3 else None,
        side_half=float(rng.uniform(2.6, 3.6)),
        zebra=float(rng.uniform(6, 10)) if rng.uniform() < 0.25 else None,
        lanes=bool(rng.uniform() < 0.7),
        asphalt=(gray * 1.01, gray, gray * float(rng.uniform(0.97, 1.08))),
        slabs=(slab * (1 + warm), slab, slab * (1 - 1.2 * warm)),
        slab=float(rng.uniform(0.6, 1.2)),
    )


def paint_background(canvas: Canvas, camera: Camera, street: Street, light: Light, rng: np.random.Generator) -> None:
    """Fill the canvas with sky above the horizon and with the street below it."""
    horizon = math.ceil(camera.horizon)
    image = np.empty((canvas.height, canvas.width, 3), dtype=np.uint8)
    surfaces = np.full((canvas.height, canvas.width), Surface.SKY, dtype=np.uint8)
    image[:horizon] = _sky(canvas.width, horizon, light, rng)
    image[horizon:], surfaces[horizon:] = _ground(canvas, camera, horizon, street, light, rng)
    canvas.fill(image, surfaces)


def _sky(width: int, height: int, light: Light, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    # Clouds are soft, so a small painting that is enlarged looks the same and is several times faster.
    small = max(2, height // SCALE)
    up = np.linspace(1.0, 0.0, small, dtype=np.float32)[:, None, None]
    up = up * (2 - up)
    sky = np.asarray(light.haze, np.float32) * (1 - up) + np.asarray(light.zenith, np.float32) * up
    billows = _waves(width // SCALE, small, ((3, 4), (7, 10), (16, 24)), rng)
    # Opacity of the clouds: the smooth waves above a threshold that falls as the cover grows.
    cloud = np.clip((billows - (1.0 - 2.0 * light.cover)) * 1.3, 0.0, 1.0)[..., None] * (0.35 + 0.6 * up)
    bright = 1.0 - 0.1 * np.clip(np.roll(billows, -small // 12, axis=0) - billows, -0.5, 1.0)[..., None]
    painted = sky + cloud * (np.asarray(light.cloud, np.float32) * bright - sky)
    image = Image.fromarray(np.clip(painted + 0.5, 0, 255).astype(np.uint8))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def _waves(width: int, height: int, sizes: tuple[tuple[int, int], ...], rng: np.random.Generator) -> Plane:
    """Return smooth random waves around 0, in which each finer layer is half as strong as the one before."""
    total = np.zeros((height, width), dtype=np.float32)
    for layer, size in enumerate(sizes):
        coarse = Image.fromarray(rng.uniform(-1.0, 1.0, size).astype(np.float32))
        total += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) * np.float32(0.5**layer)
    return total


def _ground(
    canvas: Canvas, camera: Camera, horizon: int, street: Street, light: Light, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    rows = np.arange(horizon, canvas.height, dtype=np.float32)[:, None] + 0.5
    ahead = np.float32(camera.focal * camera.height) / np.maximum(rows - np.float32(camera.horizon), 0.25)
    right = (np.arange(canvas.width, dtype=np.float32)[None] + 0.5 - np.float32(camera.centre)) * (
        ahead / np.float32(camera.focal)
    )
    cos, sin = np.float32(math.cos(camera.yaw)), np.float32(math.sin(camera.yaw))
    z = ahead * cos - right * sin
    x = right * cos + ahead * sin + np.float32(camera.x) - np.float32(street.bend) * z * np.abs(z)

    away = np.abs(x)
    roadway = away < street.half
    if street.crossing is not None:
        roadway |= np.abs(z - np.float32(street.crossing)) < street.side_half
    marking = roadway & _markings(x, z, away, street)
    surfaces = np.full(x.shape, Surface.PAVING, dtype=np.uint8)
    surfaces[roadway] = Surface.ASPHALT
    surfaces[marking] = Surface.MARKING

    worn = _waves(canvas.width // SCALE, -(-rows.size // SCALE), ((4, 5), (9, 14), (40, 60)), rng)
    bright = 1.0 + np.float32(0.06) * worn.repeat(SCALE, axis=0)[: rows.size].repeat(SCALE, axis=1)
    tracks = np.abs(np.abs(away - np.float32(street.half * 0.5)) - np.float32(0.8)) < 0.25
    bright -= np.float32(0.06) * (tracks & roadway)
    across, along = x / np.float32(street.slab), z / np.float32(1.4 * street.slab)
    column, row = np.floor(across), np.floor(along)
    joint = (across - column < 0.07) | (along - row < 0.05)
    tone = _saw(column * np.float32(0.4) + row * np.float32(0.6), 1.0) - np.float32(0.4)
    clear = 1.0 / (1.0 + ahead / np.float32(14.0))
    curb = np.abs(away - np.float32(street.half + 0.16)) < 0.17
    slabs = clear * (np.float32(0.12) * tone - np.float32(0.3) * joint)
    bright += np.where(curb, np.float32(0.18), slabs) * ~roadway

    colors = np.zeros((len(Surface), 3), dtype=np.float32)
    colors[Surface.ASPHALT], colors[Surface.MARKING], colors[Surface.PAVING] = street.asphalt, _PAINT, street.slabs
    seen = 1.0 / (1.0 + np.float32(canvas.density) * ahead)
    bright *= seen * np.float32(light.ambient + light.direct * max(0.0, light.sun[1]))
    image = np.empty((*x.shape, 3), dtype=np.uint8)
    for channel, haze in enumerate(canvas.haze):
        image[..., channel] = np.minimum(colors[:, channel][surfaces] * bright + np.float32(haze) * (1 - seen), 255)
    return image, surfaces


def _markings(x: Plane, z: Plane, away: Plane, street: Street) -> npt.NDArray[np.bool_]:
    middle = away < 0.11
    if street.lanes:
        middle &= _saw(z, 5.0) < 2.6
    lines = middle | (np.abs(away - street.half + 0.35) < 0.08)
    if street.crossing is not None:
        lines &= np.abs(z - street.crossing) > street.side_half + 0.6
    if street.zebra is not None:
        inside = (z > street.zebra) & (z < street.zebra + 2.8)
        lines = np.where(inside, _saw(x + np.float32(street.half), 1.1) < 0.55, lines)
    inside_curbs: npt.NDArray[np.bool_] = lines & (away < street.half)
    return inside_curbs


def _saw(values: Plane, period: float) -> Plane:
    """Return the values modulo a period; much faster than ``np.mod``."""
    step = np.float32(period)
    remainder: Plane = values - step * np.floor(values / step)
    return remainder
