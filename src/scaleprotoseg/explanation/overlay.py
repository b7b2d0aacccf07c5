"""Classes as image files."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from scaleprotoseg.data.labels import LabelTable

OPACITY = 0.5


def palette_png(
    index: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8] | None = None
) -> bytes:
    """(H, W) indices as a palette PNG, whose values are the indices themselves.

    Args:
        index: (H, W) indices.
        palette: (n, 3) RGB colours.
        alpha: (n,) opacity of each index; None = opaque.
    """
    image = Image.fromarray(index)
    image.putpalette(palette.tobytes())
    return _encoded(image, "PNG", optimize=True, transparency=None if alpha is None else alpha.tobytes())


def overlay_jpeg(image: Image.Image, classes: npt.NDArray[np.uint8], labels: LabelTable) -> bytes:
    """The RGB picture under the translucent colours of its (H, W) train ids, as a JPEG."""
    colors = Image.fromarray(labels.palette()[classes])
    return _encoded(Image.blend(image, colors, OPACITY), "JPEG")


def _encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
