"""Reading image files with other bands than 8-bit red, green and blue: NumPy files and some TIFF files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from scaleprotoseg.errors import UserError

Bands = npt.NDArray[np.float32]
"""(H, W, N) band values in 0-1."""

BANDS_SUFFIX = ".npy"
"""File name extension (lower case) of NumPy files, which always hold bands."""


def read_bands(path: Path) -> Bands | None:
    """Read an image file that holds bands.

    These are NumPy files of shape (H, W, N) or (H, W), and three kinds of TIFF files: with three or more bands of more
    than 8 bits per value, with more than four bands, and RGB files with a fourth band that is not marked as
    transparency. Unsigned integers are divided by the largest value of their type; floats must be in 0-1.

    Args:
        path: File of any format.

    Returns:
        (H, W, N) values; None if the file is an ordinary image or not readable as a TIFF file.

    Raises:
        UserError: If a NumPy file is unreadable, the bands of a TIFF file cannot be decoded, or the values have another
            shape, type or range.
    """
    array = _read_array(path)
    return None if array is None else _scale(array, path)


def _read_array(path: Path) -> npt.NDArray[Any] | None:
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
            return _read_page(page, path)
    except UserError:
        raise
    except Exception:  # Reading the file with Pillow, which comes next, reports any damage in one line.
        return None


def _read_page(page: Any, path: Path) -> npt.NDArray[Any]:
    """Return the (H, W, N) values of a page of a TIFF file."""
    try:
        array = page.asarray()
    except Exception as error:  # A missing decoder or a damaged file; tifffile raises many types.
        compression = getattr(page.compression, "name", page.compression)
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(
            f"{path}: its bands, compressed as {compression}, cannot be read ({reason}); pip install imagecodecs, or "
            "save the file without compression"
        ) from error
    return np.moveaxis(array, 0, -1) if page.planarconfig == 2 else array


def _scale(array: npt.NDArray[Any], path: Path) -> Bands:
    bands = array[..., None] if array.ndim == 2 else array
    if bands.ndim != 3 or not bands.size or bands.dtype.kind not in "uf":
        raise UserError(
            f"{path}: holds {array.dtype} values of shape {array.shape}; "
            "save (H, W, N) unsigned integers, or floats in 0-1"
        )
    if bands.dtype.kind == "u":
        return (bands / np.float32(np.iinfo(bands.dtype).max)).astype(np.float32)
    if not (bands.min() >= 0 and bands.max() <= 1):
        raise UserError(f"{path}: holds floats outside 0-1 or NaN; divide them by the largest possible value")
    return bands.astype(np.float32)
