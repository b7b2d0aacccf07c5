"""Images as the network reads them, RGB or bands: reading them from files and converting between forms."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from scaleprotoseg.data.bands import BANDS_SUFFIX, Bands, read_bands
from scaleprotoseg.data.images import PILLOW_SUFFIXES, read_image, to_rgb, turn_upright
from scaleprotoseg.errors import UserError

Pixels = Image.Image | Bands
"""An image as the network reads it: a PIL image in mode RGB, or an array of bands."""

ImageLike = str | os.PathLike[str] | Image.Image | npt.NDArray[Any]
"""An image as a user may give it to :func:`as_pixels`: a path, a PIL image or an array."""

IMAGE_SUFFIXES = PILLOW_SUFFIXES | {BANDS_SUFFIX}
"""File name extensions (lower case) of the files in a folder that count as images; all others are ignored."""


def as_pixels(image: ImageLike) -> Pixels:
    """Convert an image given as a path, a PIL image or an array to the form that the network reads.

    Args:
        image: Path of an image file, as for :func:`read_pixels`; PIL image of any mode; (H, W) or (H, W, 3) array of
            uint8; or (H, W, N) array of floats in 0-1, which are taken as bands.

    Returns:
        PIL image in mode RGB, or (H, W, N) float32 bands in 0-1.

    Raises:
        UserError: If the image has another type, shape or range of values, or its file cannot be read.

    Example:
        >>> import numpy as np
        >>> gray = np.zeros((4, 6), dtype=np.uint8)
        >>> as_pixels(gray).mode, as_pixels(gray).size
        ('RGB', (6, 4))
        >>> as_pixels(np.full((4, 6, 5), 0.5)).shape
        (4, 6, 5)
    """
    if isinstance(image, (str, os.PathLike)):
        return read_pixels(Path(image))
    if isinstance(image, Image.Image):
        return to_rgb(turn_upright(image), "image")
    if isinstance(image, np.ndarray):
        return _array_pixels(image)
    kind = type(image)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    remedy = "give a path, a PIL image or a NumPy array"
    if isinstance(image, Tensor):
        remedy += ", such as tensor.permute(1, 2, 0).cpu().numpy() of a (3, H, W) tensor"
    raise UserError(f"image: type {name} is not supported; {remedy}")


def read_pixels(path: Path) -> Pixels:
    """Read an image file, as bands if it holds any and as an RGB image otherwise.

    Args:
        path: Image file. See :func:`~scaleprotoseg.data.bands.read_bands` for the files that hold bands, and
            :func:`~scaleprotoseg.data.images.read_image` for all others.

    Raises:
        UserError: If the file cannot be read, or its values have an unsupported shape, type or range.
    """
    bands = read_bands(path)
    return read_image(path) if bands is None else bands


def as_image(pixels: Pixels) -> Image.Image:
    """Return an RGB image for display.

    Args:
        pixels: RGB image, which is returned as it is; or (H, W, N) bands, of which the first three become red, green
            and blue. With fewer than three, the first becomes gray.
    """
    if isinstance(pixels, Image.Image):
        return pixels
    shown = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, axis=2)
    return Image.fromarray((shown * 255).round().astype(np.uint8))


def to_channels(pixels: Pixels, count: int, name: str) -> Tensor:
    """Convert an image to a tensor with as many channels as the network reads.

    Args:
        pixels: RGB image for networks with three input channels, or with one channel, which is then the brightness;
            bands for networks with the same number of channels, or with three or one, for which the bands are
            converted with :func:`as_image` first.
        count: Number of input channels of the network.
        name: Start of the error message.

    Returns:
        (count, H, W) values in 0-255: uint8 for images, float32 for bands that are used as channels directly.

    Raises:
        UserError: If the image cannot be converted to this number of channels.
    """
    if not isinstance(pixels, Image.Image) and pixels.shape[2] == count:
        return torch.from_numpy(pixels).permute(2, 0, 1) * 255
    if count not in (1, 3):
        bands = 3 if isinstance(pixels, Image.Image) else pixels.shape[2]
        raise UserError(
            f"{name}: has {bands} bands but the network reads {count}; "
            "give network.input.mean and std one value per band"
        )
    image = as_image(pixels)
    tensor: Tensor = TF.pil_to_tensor(image.convert("L") if count == 1 else image)
    return tensor


def _array_pixels(array: npt.NDArray[Any]) -> Pixels:
    if array.ndim == 3 and array.size and array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):
            raise UserError("image: the array holds floats outside 0-1 or NaN; divide it by the largest possible value")
        return array.astype(np.float32)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)) or not array.size:
        raise UserError(
            f"image: an array of {array.dtype} and shape {array.shape} is not supported; "
            "give (H, W) or (H, W, 3) values of uint8, or (H, W, N) floats in 0-1"
        )
    return Image.fromarray(array).convert("RGB")
