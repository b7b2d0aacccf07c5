"""Masks at other sizes, and as files."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


def resize_labels(masks: Tensor, size: Sequence[int]) -> Tensor:
    """(B, H, W) train or part ids at size (h, w), each read where the centre of its new pixel lies; same type."""
    return F.interpolate(masks[:, None].float(), size=tuple(size), mode="nearest-exact")[:, 0].to(masks.dtype)


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
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, transparency=None if alpha is None else alpha.tobytes())
    return buffer.getvalue()
