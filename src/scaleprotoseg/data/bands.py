"""Pictures with other bands than red, green and blue in 8 bits: NumPy files and multi-band or deeper TIFF files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from scaleprotoseg.data.images import BANDS_SUFFIX, read_image
from scaleprotoseg.errors import UserError

Bands = npt.NDArray[np.float32]
"""(H, W, N) values in 0-1."""

Pixels = Image.Image | Bands
"""What a network reads: a picture in mode RGB, or bands."""


def read_pixels(path: Path) -> Pixels:
    """Reads a file as bands if it holds some, else as :func:`~scaleprotoseg.data.images.read_image` does.

    Bands are NumPy files of shape (H, W, N) or (H, W), and TIFF files of three or more bands with more than 8 bits a
    value, of more than four bands, or of four of which none is said to be transparency. Whole numbers are divided by
    the largest their type can hold; fractions must be in 0-1.

    Raises:
        UserError: If the file is unreadable, of another shape, or holds fractions outside 0-1.
    """
    array = _array(path)
    return read_image(path) if array is None else _scaled(array, path)


def as_image(pixels: Pixels) -> Image.Image:
    """What people see of it: the first three bands as red, green and blue; the first as grey if there are fewer."""
    if isinstance(pixels, Image.Image):
        return pixels
    shown = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, axis=2)
    return Image.fromarray((shown * 255).round().astype(np.uint8))


def to_channels(pixels: Pixels, count: int, name: str) -> Tensor:
    """The channels of a picture as a network with ``count`` input channels reads them.

    Args:
        pixels: An RGB picture for networks with three channels, or with one, which then reads its brightness; bands for
            networks with as many, or with three, which then read what people see.
        count: Input channels of the network.
        name: Begins the message if they do not fit.

    Returns:
        (count, H, W) values in 0-255: uint8 of a picture, float32 of bands.

    Raises:
        UserError: If there are not as many bands as channels.
    """
    if not isinstance(pixels, Image.Image) and pixels.shape[2] == count:
        return torch.from_numpy(pixels).permute(2, 0, 1) * 255
    if count not in (1, 3):
        bands = 3 if isinstance(pixels, Image.Image) else pixels.shape[2]
        raise UserError(
            f"{name}: has {bands} bands, the network reads {count}; give network.input.mean and std one value a band"
        )
    image = as_image(pixels)
    tensor: Tensor = TF.pil_to_tensor(image.convert("L") if count == 1 else image)
    return tensor


def _array(path: Path) -> npt.NDArray[Any] | None:
    """The values of a file that holds bands; None for ordinary pictures and unreadable files."""
    if path.suffix.lower() == BANDS_SUFFIX:
        try:
            return np.atleast_1d(np.load(path, allow_pickle=False))
        except Exception as error:  # NumPy raises many types for damaged files.
            reason = str(error).partition("\n")[0]
            raise UserError(f"{path}: not a readable NumPy file ({reason}); save it with numpy.save") from error
    if path.suffix.lower() not in {".tif", ".tiff"}:
        return None
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            bands, deep = page.samplesperpixel, page.bitspersample > 8
            transparent = any(extra in (1, 2) for extra in page.extrasamples)
            if bands < 3 or not (deep or bands > 4 or (bands == 4 and not transparent and page.photometric == 2)):
                return None
            return _page(page, path)
    except UserError:
        raise
    except Exception:  # Whatever else is wrong with it, Pillow's reader says so in one line.
        return None


def _page(page: Any, path: Path) -> npt.NDArray[Any]:
    """(H, W, N) values of a page of a TIFF file."""
    try:
        array = page.asarray()
    except Exception as error:  # A missing decoder, or any damage.
        compression = getattr(page.compression, "name", page.compression)
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(
            f"{path}: its bands, compressed as {compression}, cannot be read ({reason}); pip install imagecodecs, or "
            "save it without compression"
        ) from error
    return np.moveaxis(array, 0, -1) if page.planarconfig == 2 else array


def _scaled(array: npt.NDArray[Any], path: Path) -> Bands:
    bands = array[..., None] if array.ndim == 2 else array
    if bands.ndim != 3 or not bands.size or bands.dtype.kind not in "uf":
        raise UserError(
            f"{path}: holds {array.dtype} values of shape {array.shape}; save (H, W, N) unsigned numbers, or fractions"
        )
    if bands.dtype.kind == "u":
        return (bands / np.float32(np.iinfo(bands.dtype).max)).astype(np.float32)
    if not (bands.min() >= 0 and bands.max() <= 1):
        raise UserError(f"{path}: holds fractions outside 0-1; divide them by the largest value they can have")
    return bands.astype(np.float32)
