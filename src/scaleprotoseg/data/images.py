"""Reading image and mask files with Pillow; every failure is a one-line error that names the file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from scaleprotoseg.data.labels import INDEX_LIMIT, Color, pack_colors
from scaleprotoseg.errors import UserError

PILLOW_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
"""File name extensions (lower case) of the formats that are read with Pillow."""

_LOSSY_FORMATS = frozenset({"JPEG", "MPO"})
_PACKED_GRAY = {"L;2": 85, "L;4": 17}  # Pillow spreads 2- and 4-bit gray over 0-255; a mask needs the stored numbers.


def read_image(path: Path) -> Image.Image:
    """Read an image as image viewers show it, in mode RGB.

    Gray, palette, CMYK and 1-bit images are converted to RGB. 16-bit gray keeps its upper 8 bits, so that the result
    does not depend on the brightest pixel of the file. Transparent pixels are shown on white, the EXIF rotation is
    applied, and of an animation the first frame is read.

    Args:
        path: Image file.

    Returns:
        The image in mode RGB, fully decoded.

    Raises:
        UserError: If the file is missing, truncated or not an image, or if its brightness range is unknown (32-bit).
    """
    return to_rgb(_decode(path)[0], str(path))


def to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Convert a decoded, upright image of any mode to RGB, as :func:`read_image` does.

    Args:
        image: PIL image.
        name: Start of the error message.

    Raises:
        UserError: If the brightness range of the image is unknown (32-bit).
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in {"I", "F"}:
        raise UserError(f"{name}: a 32-bit image, whose brightness range is unknown; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def turn_upright(image: Image.Image) -> Image.Image:
    """Return an image with its EXIF rotation applied, or as it is if its EXIF data is damaged."""
    with suppress(Exception):
        turned = ImageOps.exif_transpose(image)
        turned.format = image.format  # Which to_rgb needs.
        return turned
    return image


def read_mask(path: Path) -> npt.NDArray[np.integer[Any]]:
    """Read the raw values of a mask, which only a label table gives a meaning.

    Gray and 16-bit masks give their numbers, palette masks their indices (not the colors of the palette), and 1-bit
    masks 0 and 1; alpha is ignored. Color masks give one packed number per pixel, see
    :func:`~scaleprotoseg.data.labels.pack_colors`, which differs from every index. The EXIF rotation is applied, as it
    is for images.

    Args:
        path: Mask file.

    Returns:
        (H, W) integers.

    Raises:
        UserError: If the file is missing, truncated, not an image, a JPEG file, or holds floats.
    """
    return read_mask_with_palette(path)[0]


def read_mask_with_palette(path: Path) -> tuple[npt.NDArray[np.integer[Any]], list[Color]]:
    """Read a mask as :func:`read_mask` does, together with its palette.

    Returns:
        (H, W) integers, and the (red, green, blue) of each index; an empty list if the mask has no palette.
    """
    image, gray_step = _decode(path)
    if image.format in _LOSSY_FORMATS:
        raise UserError(f"{path}: a JPEG file, which blurs mask values; export the mask again as PNG")
    if image.mode == "F":
        raise UserError(f"{path}: holds floats; save the mask with whole numbers, as PNG")
    flat = (image.getpalette("RGB") or []) if image.mode in {"P", "PA"} else []
    palette = list(zip(flat[0::3], flat[1::3], flat[2::3], strict=True))
    if image.mode in {"LA", "PA"}:
        return np.asarray(image)[..., 0], palette
    if image.mode not in {"1", "L", "P", "I"} and not image.mode.startswith("I;16"):
        return pack_colors(np.asarray(image.convert("RGB"))), palette
    values = np.asarray(image)
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    if image.mode == "I" and not 0 <= values.min() <= values.max() < INDEX_LIMIT:
        raise UserError(f"{path}: holds mask values outside 0 to {INDEX_LIMIT - 1}; save it with smaller class ids")
    return values // gray_step, palette


def _decode(path: Path) -> tuple[Image.Image, int]:
    """Return the first frame, decoded and upright, and the factor by which Pillow has spread its gray values."""
    try:
        with Image.open(path) as image:
            rawmode = image.tile[0].args if image.tile else None
            image.load()
            with suppress(Exception):  # Damaged EXIF data: leave the image as it is stored, as image viewers do.
                ImageOps.exif_transpose(image, in_place=True)
            return image, _PACKED_GRAY.get(rawmode if isinstance(rawmode, str) else "", 1)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; check the path") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: a folder, not an image; give a file") from error
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read (permission denied); change its permissions") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: not a readable image (unknown or damaged format); replace it") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: has more pixels than can be read safely; cut it into smaller images") from error
    except Exception as error:  # A damaged file can make Pillow's decoders raise nearly any type.
        truncated = "truncated" in str(error).lower()
        reason = "truncated file" if truncated else str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{path}: not a readable image ({reason}); replace it") from error
