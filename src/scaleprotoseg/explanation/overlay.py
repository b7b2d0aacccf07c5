"""Predicted classes as image files."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from scaleprotoseg.data.labels import LabelTable

OPACITY = 0.5


def mask_png(classes: npt.NDArray[np.uint8], labels: LabelTable) -> bytes:
    """(H, W) train ids as a palette PNG: the values are the train ids, the palette shows the class colours."""
    image = Image.fromarray(classes)
    image.putpalette(labels.palette().tobytes())
    return _encoded(image, "PNG")


def overlay_jpeg(image: Image.Image, classes: npt.NDArray[np.uint8], labels: LabelTable) -> bytes:
    """The RGB picture under the translucent colours of its (H, W) train ids, as a JPEG."""
    colors = Image.fromarray(labels.palette()[classes])
    return _encoded(Image.blend(image, colors, OPACITY), "JPEG")


def _encoded(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()
