"""Pictures for pages: class colours, error maps and photographs as data URIs."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from scaleprotoseg.data.labels import VOID, LabelTable
from scaleprotoseg.data.masks import palette_png

PHOTO_SIDE = 1600
"""Longest side of a photograph in a page, in pixels; pages keep the coordinates of the full picture."""

WRONG = (214, 31, 105)
UNLABELLED = (120, 120, 120)


def png_uri(data: bytes) -> str:
    """PNG bytes as a data URI."""
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")


def photo_uri(image: Image.Image) -> str:
    """A picture as a JPEG data URI, at most ``PHOTO_SIDE`` wide and high."""
    shown = image.convert("RGB")
    shown.thumbnail((PHOTO_SIDE, PHOTO_SIDE))
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def classes_uri(mask: npt.NDArray[np.uint8], labels: LabelTable) -> str:
    """(H, W) train ids in their class colours as a PNG data URI; void is transparent."""
    alpha = np.full(256, 255, dtype=np.uint8)
    alpha[VOID] = 0
    return png_uri(palette_png(mask, labels.palette(), alpha))


def errors_uri(prediction: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8]) -> str:
    """Where two (H, W) maps of train ids disagree, as a PNG data URI.

    Wrong pixels are opaque, unlabelled ones grey and half transparent, right ones transparent.
    """
    state = np.where(truth == VOID, 2, prediction != truth).astype(np.uint8)
    colors = np.array([(0, 0, 0), WRONG, UNLABELLED], np.uint8)
    return png_uri(palette_png(state, colors, np.array([0, 255, 150], np.uint8)))
