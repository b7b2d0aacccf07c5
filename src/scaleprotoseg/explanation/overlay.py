"""Predicted classes drawn over an image."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from scaleprotoseg.data.labels import LabelTable

OPACITY = 0.5


def overlay_jpeg(image: Image.Image, classes: npt.NDArray[np.uint8], labels: LabelTable) -> bytes:
    """Draw the translucent colors of (H, W) train ids over an RGB image of the same size, and encode it as a JPEG."""
    colors = Image.fromarray(labels.palette()[classes])
    buffer = io.BytesIO()
    Image.blend(image, colors, OPACITY).save(buffer, "JPEG")
    return buffer.getvalue()
