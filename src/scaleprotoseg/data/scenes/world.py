"""Whole scenes: the layout, painted from far to near, and its simulated photograph."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from scaleprotoseg.data.scenes.canvas import Canvas
from scaleprotoseg.data.scenes.ground import any_street, paint_background
from scaleprotoseg.data.scenes.layout import HEIGHT, WIDTH, any_camera, buildings_and_backdrop, small_things
from scaleprotoseg.data.scenes.light import any_light

_SPECK = 40
"""Image pixels of a small object that must be visible; otherwise the object is removed."""


def draw_scene(rng: np.random.Generator) -> tuple[Image.Image, npt.NDArray[np.uint8]]:
    """Draw one street scene.

    Args:
        rng: Only source of randomness; equal generators give equal scenes.

    Returns:
        The image (RGB, 128 x 96) and its (96, 128) surfaces, see :class:`~.canvas.Surface`.
    """
    light = any_light(rng)
    street = any_street(rng)
    camera = any_camera(street, rng)
    background = Canvas(WIDTH, HEIGHT, light.haze, light.density)
    paint_background(background, camera, street, light, rng)
    compact = small_things(street, camera, rng)
    things = sorted([*buildings_and_backdrop(street, camera, rng), *compact], key=lambda thing: -thing.depth(camera))
    while True:
        canvas = background.copy()
        for thing in things:
            thing.shadow(canvas, camera, light)
        canvas.cast(softness=1.2)
        for number, thing in enumerate(things, start=1):
            canvas.own(number)
            thing.draw(canvas, camera, light)
        areas = canvas.areas(len(things) + 1)[1:]
        specks = [thing for thing, area in zip(things, areas, strict=True) if area < _SPECK and thing in compact]
        if not specks:
            break
        things = [thing for thing in things if thing not in specks]
    surfaces = canvas.surfaces()
    return light.develop(canvas.image(), surfaces, rng), surfaces
