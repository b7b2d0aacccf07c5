"""Reading pictures and masks: every kind of file a person may bring, and one clear line where it cannot be read."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from scaleprotoseg.data.labels import INDEX_LIMIT, Color, pack_colors
from scaleprotoseg.errors import UserError

BANDS_SUFFIX = ".npy"
"""Ending (lower case) of NumPy files, which hold bands; see :mod:`~scaleprotoseg.data.bands`."""

_PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
IMAGE_SUFFIXES = frozenset(_PICTURES | {BANDS_SUFFIX})
"""Endings (lower case) of the files that count as pictures; others in a folder are not looked at."""

_LOSSY_FORMATS = frozenset({"JPEG", "MPO"})
_PACKED_GREY = {"L;2": 85, "L;4": 17}  # Pillow spreads 2- and 4-bit grey over 0-255; a mask needs the stored numbers.


def read_image(path: Path) -> Image.Image:
    """Reads a picture as a person sees it, in mode RGB.

    Grey, palette, CMYK and 1-bit pictures become RGB, 16-bit grey keeps its upper 8 bits (so a file gives the same
    picture whatever its brightest pixel), transparent pixels show a white page, the camera's EXIF rotation is
    applied, and an animation gives its first frame.

    Args:
        path: The picture file.

    Returns:
        The picture, fully decoded, mode RGB.

    Raises:
        UserError: If the file is missing, truncated, not a picture, or has no fixed brightness range (32-bit).
    """
    return as_seen(_decode(path)[0], str(path))


def as_seen(image: Image.Image, name: str) -> Image.Image:
    """A decoded, upright picture of any mode in RGB, as :func:`read_image` gives it.

    Raises:
        UserError: If it has no fixed brightness range (32-bit); ``name`` begins the message.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in {"I", "F"}:
        raise UserError(f"{name}: a 32-bit picture, whose brightness range is unknown; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def read_mask(path: Path) -> npt.NDArray[np.integer[Any]]:
    """Reads the raw values of a mask, without giving them a meaning.

    Grey and 16-bit masks give their numbers, palette masks their indices (not the palette's colours), 1-bit masks
    0 and 1; alpha is left out. A colour mask gives one packed number per pixel, as
    :func:`~scaleprotoseg.data.labels.pack_colors` writes it, which no index can equal. EXIF rotation is applied, as
    to pictures.

    Args:
        path: The mask file.

    Returns:
        (H, W) integers.

    Raises:
        UserError: If the file is missing, truncated, not a picture, a JPEG, or holds fractions.
    """
    return read_mask_with_palette(path)[0]


def read_mask_with_palette(path: Path) -> tuple[npt.NDArray[np.integer[Any]], list[Color]]:
    """Reads a mask as :func:`read_mask` does, and the (red, green, blue) of each index; empty without a palette."""
    image, grey_step = _decode(path)
    if image.format in _LOSSY_FORMATS:
        raise UserError(f"{path}: a JPEG, which blurs mask values; export the mask again as PNG")
    if image.mode == "F":
        raise UserError(f"{path}: holds fractions; save the mask with whole numbers, as PNG")
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
    return values // grey_step, palette


def _decode(path: Path) -> tuple[Image.Image, int]:
    """The first frame, decoded and upright, and the factor its grey values were spread by."""
    try:
        with Image.open(path) as image:
            rawmode = image.tile[0].args if image.tile else None
            image.load()
            with suppress(Exception):  # As viewers do, take a picture with damaged camera data as it lies.
                ImageOps.exif_transpose(image, in_place=True)
            return image, _PACKED_GREY.get(rawmode if isinstance(rawmode, str) else "", 1)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; check the path") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: a folder, not an image; name a file") from error
    except PermissionError as error:
        raise UserError(f"{path}: may not be read (permission denied); change its permissions") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: not a readable image (unknown or damaged format); replace it") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: more pixels than can be read safely; cut it into smaller images") from error
    except Exception as error:  # A damaged file can make Pillow's decoders raise nearly anything.
        truncated = "truncated" in str(error).lower()
        reason = "truncated file" if truncated else str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{path}: not a readable image ({reason}); replace it") from error
