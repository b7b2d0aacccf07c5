"""Resizing masks and writing them as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


def resize_labels(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Resize masks by nearest neighbor: each new pixel takes the label at the position of its center.

    Args:
        masks: (B, H, W) train or part ids.
        size: New (height, width).

    Returns:
        (B, height, width) ids of the same type.

    Example:
        >>> import torch
        >>> resize_labels(torch.tensor([[[0, 1], [2, 3]]], dtype=torch.uint8), (2, 4))
        tensor([[[0, 0, 1, 1],
                 [2, 2, 3, 3]]], dtype=torch.uint8)
    """
    return F.interpolate(masks[:, None].float(), size=tuple(size), mode="nearest-exact")[:, 0].to(masks.dtype)


def palette_png(
    index: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8] | None = None
) -> bytes:
    """Encode indices as a palette PNG, whose pixel values are the indices themselves.

    Args:
        index: (H, W) indices.
        palette: (N, 3) RGB colors.
        alpha: (N,) opacity of each index, 0-255; None = opaque.

    Returns:
        Content of the PNG file.

    Example:
        >>> index = np.array([[0, 1]], dtype=np.uint8)
        >>> png = palette_png(index, palette=np.array([[0, 0, 0], [255, 0, 0]], dtype=np.uint8))
        >>> image = Image.open(io.BytesIO(png))
        >>> np.array(image).tolist(), np.array(image.convert("RGB")).tolist()
        ([[0, 1]], [[[0, 0, 0], [255, 0, 0]]])
    """
    image = Image.fromarray(index)
    image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, transparency=None if alpha is None else alpha.tobytes())
    return buffer.getvalue()
