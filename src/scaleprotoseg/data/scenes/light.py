"""Weather and time of day: the light of a scene and the simulated photograph of the finished drawing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageFilter

from scaleprotoseg.data.scenes.canvas import Color, Surface, mix

_GRAIN = np.full(len(Surface), 1.2)
_GRAIN[[Surface.ASPHALT, Surface.MARKING]] = 3.5
_GRAIN[[Surface.PAVING, Surface.WALL, Surface.ROOF, Surface.TRUNK]] = 3.0
_GRAIN[Surface.CROWN] = 6.0


@dataclass(frozen=True)
class Light:
    """Light of one scene.

    Attributes:
        sun: Unit vector toward the sun in street coordinates.
        ambient: Brightness of a surface that faces away from the sun.
        direct: Brightness that the sun adds to a surface that faces it.
        zenith: Color of the sky at the zenith.
        haze: Color of the sky at the horizon and of distant air.
        cloud: Color of the clouds.
        cover: Cloudiness of the sky, 0-1.
        density: Haze per meter, see :class:`~.canvas.Canvas`.
        tint: Factor per color channel.
        gamma: Exponent applied to brightness in 0-1; below 1 is brighter.
        dusk: Fraction of windows that are lit; lamps are lit if it is above 0.
        noise: Standard deviation of the sensor noise in gray values.
        blur: Radius of the lens blur in pixels.
    """

    sun: tuple[float, float, float]
    ambient: float
    direct: float
    zenith: Color
    haze: Color
    cloud: Color
    cover: float
    density: float
    tint: Color
    gamma: float
    dusk: float
    noise: float
    blur: float

    def shade(self, color: Color, normal: tuple[float, float, float]) -> Color:
        """Return the color of a matte surface with this outward unit normal."""
        cosine = sum(a * b for a, b in zip(self.sun, normal, strict=True))
        bright = self.ambient + self.direct * max(0.0, cosine)
        return color[0] * bright, color[1] * bright, color[2] * bright

    @property
    def shadow(self) -> float:
        """Strength of cast shadows, 0-1."""
        return 0.62 * self.direct / (self.ambient + self.direct)

    def develop(self, image: Image.Image, surfaces: npt.NDArray[np.uint8], rng: np.random.Generator) -> Image.Image:
        """Return a simulated photograph of the clean drawing: glow, blur, grain of the materials, tint, gamma, noise.

        Args:
            image: The drawing at final size.
            surfaces: (H, W) surfaces of the same size, which determine the grain.
            rng: Source of the noise.
        """
        height, width = surfaces.shape
        if self.dusk:
            shining = np.isin(surfaces, (Surface.LAMP, Surface.GLASS, Surface.PLATE))[..., None]
            source = np.asarray(image)
            rays = Image.fromarray(source * (shining & (source.max(axis=2, keepdims=True) > 210)))
            image = ImageChops.screen(image, rays.filter(ImageFilter.GaussianBlur(2.0)))
        soft = image.filter(ImageFilter.GaussianBlur(self.blur)) if self.blur else image
        grain = rng.standard_normal((height, width, 1)) * _GRAIN[surfaces][..., None]
        light = np.clip((np.asarray(soft, dtype=np.float64) + grain) / 255.0 * self.tint, 0.0, 1.0) ** self.gamma
        noisy = 255.0 * light + rng.normal(0.0, self.noise, (height, width, 3))
        return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def any_light(rng: np.random.Generator) -> Light:
    """Sample the light of a scene: a clear, cloudy or overcast day, fog, low sun, or dusk."""
    kind = rng.choice(["clear", "cloudy", "overcast", "fog", "low sun", "dusk"], p=[0.26, 0.24, 0.16, 0.08, 0.14, 0.12])
    bearing, climb = rng.uniform(0, 2 * math.pi), rng.uniform(0.5, 1.1)
    ambient, direct, cover, density, dusk = 0.66, 0.52, float(rng.uniform(0.05, 0.4)), 0.003, 0.0
    zenith, haze, cloud = (86.0, 140.0, 208.0), (190.0, 214.0, 232.0), (244.0, 245.0, 247.0)
    warmth = rng.uniform(-0.05, 0.07)
    if kind == "cloudy":
        cover, direct, zenith = float(rng.uniform(0.45, 0.75)), 0.4, (96.0, 138.0, 190.0)
    elif kind == "overcast":
        ambient, direct, cover, density = 0.78, 0.12, 0.95, 0.007
        zenith, haze, cloud = (158.0, 166.0, 176.0), (204.0, 208.0, 212.0), (186.0, 190.0, 196.0)
    elif kind == "fog":
        ambient, direct, cover, density = 0.8, 0.1, 0.5, 0.022
        zenith, haze, cloud = (186.0, 192.0, 198.0), (208.0, 211.0, 213.0), (214.0, 216.0, 218.0)
    elif kind == "low sun":
        climb, ambient, direct, warmth = rng.uniform(0.2, 0.4), 0.58, 0.6, rng.uniform(0.05, 0.13)
        zenith, haze, cloud = (104.0, 142.0, 196.0), (246.0, 216.0, 172.0), (252.0, 224.0, 196.0)
    elif kind == "dusk":
        climb, ambient, direct, dusk = rng.uniform(0.1, 0.25), 0.6, 0.16, float(rng.uniform(0.4, 0.8))
        zenith, haze, cloud = (52.0, 62.0, 112.0), (226.0, 150.0, 124.0), (140.0, 104.0, 130.0)
        warmth = rng.uniform(-0.08, 0.06)
    zenith = mix(zenith, haze, float(rng.uniform(0.0, 0.35)))
    flat = math.cos(climb)
    return Light(
        sun=(flat * math.sin(bearing), math.sin(climb), flat * math.cos(bearing)),
        ambient=ambient,
        direct=direct,
        zenith=zenith,
        haze=haze,
        cloud=cloud,
        cover=cover,
        density=density * float(rng.uniform(0.7, 1.4)),
        tint=(1.0 + 0.6 * warmth, 1.0, 1.0 - 1.4 * warmth),
        gamma=float(rng.uniform(0.8, 1.15)),
        dusk=dusk,
        noise=float(rng.uniform(0.6, 2.4)),
        blur=float(rng.choice([0.0, 0.0, 0.3, 0.5])),
    )
