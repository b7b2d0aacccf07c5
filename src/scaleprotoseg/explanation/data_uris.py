"""Images, class colors and error maps as data URIs, which pages embed."""

from __future__ import annotations

import base64
import io
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from scaleprotoseg.data.labels import VOID, LabelTable
from scaleprotoseg.data.masks import palette_png
from scaleprotoseg.explanation.overlay import overlay_jpeg

IMAGE_SIDE = 1600
"""Largest width and height of an image in a page, in pixels; coordinates remain those of the original size."""

WRONG = (214, 31, 105)
UNLABELED = (120, 120, 120)


def data_uri(data: bytes, kind: Literal["png", "jpeg"]) -> str:
    """Return the bytes of an image file as a data URI."""
    return f"data:image/{kind};base64," + base64.b64encode(data).decode("ascii")


def image_uri(image: Image.Image) -> str:
    """Return an image as a JPEG data URI, at most ``IMAGE_SIDE`` wide and high."""
    shown = image.convert("RGB")
    shown.thumbnail((IMAGE_SIDE, IMAGE_SIDE))
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=88)
    return data_uri(buffer.getvalue(), "jpeg")


def classes_uri(mask: npt.NDArray[np.uint8], labels: LabelTable) -> str:
    """Return (H, W) train ids in their class colors as a PNG data URI; void is transparent."""
    alpha = np.full(256, 255, dtype=np.uint8)
    alpha[VOID] = 0
    return data_uri(palette_png(mask, labels.palette(), alpha), "png")


def errors_uri(prediction: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8]) -> str:
    """Return the pixels at which two (H, W) maps of train ids differ, as a PNG data URI.

    Wrong pixels are opaque, unlabeled pixels gray and translucent, correct pixels transparent.
    """
    state = np.where(truth == VOID, 2, prediction != truth).astype(np.uint8)
    colors = np.array([(0, 0, 0), WRONG, UNLABELED], np.uint8)
    return data_uri(palette_png(state, colors, np.array([0, 255, 150], np.uint8)), "png")


def overlay_uri(image: Image.Image, classes: npt.NDArray[np.uint8], labels: LabelTable, side: int) -> str:
    """Return an image under the translucent colors of its (H, W) train ids, as a JPEG data URI.

    Args:
        image: RGB image.
        classes: (H, W) train ids.
        labels: The classes.
        side: Largest width and height of the result, in pixels.
    """
    shown = image.copy()
    shown.thumbnail((side, side))
    resized = Image.fromarray(classes).resize(shown.size, Image.Resampling.NEAREST)
    return data_uri(overlay_jpeg(shown, np.asarray(resized), labels), "jpeg")
