"""Images of any kind, converted to the form that the network reads."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from torchvision import tv_tensors

from scaleprotoseg.data.images import read_image
from scaleprotoseg.data.pixels import as_image, as_pixels, to_channels
from scaleprotoseg.errors import UserError

RNG = np.random.default_rng(0)
SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 5))


@given(array=SHAPES.flatmap(lambda shape: arrays.arrays(np.uint8, st.sampled_from([shape, (*shape, 3)]))))
def test_arrays_of_uint8_become_rgb_images(array):
    image = as_pixels(array)
    assert isinstance(image, Image.Image) and image.mode == "RGB"
    np.testing.assert_array_equal(np.array(image), array if array.ndim == 3 else np.dstack([array] * 3))


@given(
    array=st.sampled_from([np.float16, np.float32, np.float64]).flatmap(
        lambda dtype: arrays.arrays(dtype, st.tuples(*[st.integers(1, 5)] * 3), elements=st.floats(0, 1, width=16))
    )
)
def test_arrays_of_floats_are_bands(array):
    bands = as_pixels(array)
    assert isinstance(bands, np.ndarray) and bands.dtype == np.float32
    np.testing.assert_array_equal(bands, array.astype(np.float32))


@pytest.mark.parametrize("kind", [str, Path])
def test_paths_are_read_as_files(kind, tmp_path):
    array = RNG.integers(0, 256, (6, 9, 4), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    image = as_pixels(kind(tmp_path / "a.png"))
    assert np.array_equal(np.array(image), np.array(read_image(tmp_path / "a.png")))
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_allclose(as_pixels(kind(tmp_path / "a.npy")), array / 255, atol=1e-6)
    with pytest.raises(UserError, match=r"none\.png: no such file; check the path"):
        as_pixels(kind(tmp_path / "none.png"))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"])
def test_pil_images_are_read_as_their_files(mode, tmp_path):
    image = Image.new(mode, (3, 2))
    image.putpixel((0, 0), {"LA": (9, 99), "RGBA": (9, 9, 9, 99), "RGB": (9, 8, 7)}.get(mode, 1))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        pixels = as_pixels(opened)
    assert pixels.mode == "RGB" and pixels.size == (2, 3)
    assert np.array_equal(np.array(pixels), np.array(read_image(tmp_path / "a.png")))


def test_pil_images_keep_the_depth_of_their_format():
    opened = Image.open(io.BytesIO(b"P5 2 1 65535\n\x01\x02\xff\xfe"))
    assert np.array(as_pixels(opened))[0, :, 0].tolist() == [1, 255]


def test_pil_images_with_damaged_exif_are_used_as_they_are(monkeypatch):
    def damaged(image):
        raise SyntaxError("not a TIFF file")

    monkeypatch.setattr(Image.Image, "getexif", damaged)
    assert as_pixels(Image.new("L", (3, 2))).size == (3, 2)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        (None, "NoneType"),
        (7, "int"),
        (b"street.jpg", "bytes"),
        ([[0, 1]], "list"),
        (io.BytesIO(), r"_io\.BytesIO"),
        (np.uint8(7), r"numpy\.uint8"),
    ],
)
def test_other_types_are_refused(image, name):
    with pytest.raises(UserError) as error:
        as_pixels(image)
    assert name.replace("\\", "") in str(error.value)
    assert str(error.value).endswith("is not supported; give a path, a PIL image or a NumPy array")


@pytest.mark.parametrize("tensor", [torch.zeros(3, 4, 5), tv_tensors.Image(torch.zeros(3, 4, 5))])
def test_tensors_are_refused_with_the_conversion(tensor):
    says = (
        r"^image: type torch.* is not supported; give .* array, such as tensor\.permute\(1, 2, 0\)\.cpu\(\)\.numpy\(\)"
    )
    with pytest.raises(UserError, match=says) as error:
        as_pixels(tensor)
    assert "\n" not in str(error.value)
    assert as_pixels(tensor.permute(1, 2, 0).cpu().numpy()).shape == (4, 5, 3)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 7), np.uint8),
        np.zeros((4, 4, 3), np.int64),
        np.zeros((4, 4, 3), bool),
        np.zeros((0, 4), np.uint8),
        np.zeros((4, 0, 3), np.float32),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.array(3, np.uint8),
        np.array([[None]]),
    ],
)
def test_arrays_of_other_types_and_shapes_are_refused(array):
    with pytest.raises(UserError) as error:
        as_pixels(array)
    assert str(error.value) == (
        f"image: an array of {array.dtype} and shape {array.shape} is not supported; "
        "give (H, W) or (H, W, 3) values of uint8, or (H, W, N) floats in 0-1"
    )


@pytest.mark.parametrize("value", [-0.1, 1.5, 255.0, np.nan, np.inf])
def test_floats_outside_their_range_are_refused(value):
    array = np.full((2, 3, 3), 0.5)
    array[0, 0, 0] = value
    with pytest.raises(UserError, match=r"^image: the array holds floats outside 0-1 or NaN; divide it by the largest"):
        as_pixels(array)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pil_images_without_known_brightness_range_are_refused(mode):
    with pytest.raises(UserError, match=r"^image: a 32-bit image, whose brightness range is unknown; save it with"):
        as_pixels(Image.new(mode, (3, 2)))


def test_bands_for_display_and_as_channels():
    bands = RNG.random((4, 5, 6), dtype=np.float32)
    shown = np.array(as_image(bands))
    np.testing.assert_allclose(shown, bands[..., :3] * 255, atol=0.5)
    assert np.array_equal(to_channels(bands, 6, "a").numpy(), np.moveaxis(bands, -1, 0) * np.float32(255))
    assert np.array_equal(to_channels(bands, 3, "a").numpy(), np.moveaxis(shown, -1, 0))
    gray = to_channels(as_image(bands), 1, "a")
    assert gray.shape == (1, 4, 5) and gray.dtype == torch.uint8
    np.testing.assert_allclose(gray[0], shown @ [0.299, 0.587, 0.114], atol=1)
    assert np.array_equal(np.array(as_image(bands[..., :2])), shown[..., :1].repeat(3, 2))
    for pixels, has in ((bands, 6), (as_image(bands), 3)):
        with pytest.raises(
            UserError, match=rf"a: has {has} bands but the network reads 4; give network\.input\.mean and std one value"
        ):
            to_channels(pixels, 4, "a")
