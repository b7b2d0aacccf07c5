"""Predicted classes over a picture."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from scaleprotoseg.data.labels import LabelTable

OPACITY = 0.5


def overlay_jpeg(image: Image.Image, classes: npt.NDArray[np.uint8], labels: LabelTable) -> bytes:
    """The RGB picture under the translucent colours of its (H, W) train ids, as a JPEG."""
    colors = Image.fromarray(labels.palette()[classes])
    buffer = io.BytesIO()
    Image.blend(image, colors, OPACITY).save(buffer, "JPEG")
    return buffer.getvalue()
