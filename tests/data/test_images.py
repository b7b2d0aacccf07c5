from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from scaleprotoseg.data.images import read_image, read_mask, read_mask_with_palette
from scaleprotoseg.data.labels import unpack_color
from scaleprotoseg.errors import UserError

sizes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
in_tmp_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


def pixels(channels: int, dtype: type = np.uint8) -> st.SearchStrategy[np.ndarray]:
    return sizes.flatmap(lambda shape: hnp.arrays(dtype, (*shape, channels) if channels > 1 else shape))


def gray_png(bits: int, rows: list[list[int]]) -> bytes:
    """Encode a gray PNG of 1, 2, 4 or 8 bits without Pillow, which writes some of these only as palettes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    lines = b""
    for row in rows:
        line = "".join(f"{value:0{bits}b}" for value in row)
        line += "0" * (-len(line) % 8)
        lines += b"\0" + bytes(int(line[at : at + 8], 2) for at in range(0, len(line), 8))
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@in_tmp_path
@given(array=pixels(3), suffix=st.sampled_from([".png", ".bmp", ".tif", ".ppm"]))
def test_rgb_comes_back_exactly(tmp_path: Path, array: np.ndarray, suffix: str) -> None:
    Image.fromarray(array).save(tmp_path / f"a{suffix}")
    image = read_image(tmp_path / f"a{suffix}")
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), array)


@in_tmp_path
@given(array=pixels(1), suffix=st.sampled_from([".png", ".bmp", ".tif", ".pgm", ".gif"]))
def test_gray_becomes_three_equal_channels(tmp_path: Path, array: np.ndarray, suffix: str) -> None:
    Image.fromarray(array).save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / f"a{suffix}")), np.dstack([array] * 3))


@in_tmp_path
@given(array=pixels(1, np.uint16), suffix=st.sampled_from([".png", ".tif"]))
def test_16_bit_gray_keeps_its_upper_byte(tmp_path: Path, array: np.ndarray, suffix: str) -> None:
    Image.fromarray(array).save(tmp_path / f"a{suffix}")
    expected = np.dstack([array // 256] * 3)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / f"a{suffix}")), expected)
    np.testing.assert_array_equal(read_mask(tmp_path / f"a{suffix}"), array)


def test_16_bit_pgm_and_big_endian_tiff(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 65535\n\x01\x02\xff\xfe")
    assert np.asarray(read_image(tmp_path / "a.pgm"))[0, :, 0].tolist() == [1, 255]
    assert read_mask(tmp_path / "a.pgm").tolist() == [[0x0102, 0xFFFE]]
    Image.frombytes("I;16B", (2, 1), b"\x01\x02\xff\xfe").save(tmp_path / "a.tif")
    assert np.asarray(read_image(tmp_path / "a.tif"))[0, :, 0].tolist() == [1, 255]
    assert read_mask(tmp_path / "a.tif").tolist() == [[0x0102, 0xFFFE]]


@in_tmp_path
@given(array=pixels(4))
def test_transparent_pixels_are_shown_on_white(tmp_path: Path, array: np.ndarray) -> None:
    Image.fromarray(array, "RGBA").save(tmp_path / "a.png")
    color, alpha = array[..., :3].astype(float), array[..., 3:] / 255
    got = np.asarray(read_image(tmp_path / "a.png")).astype(float)
    assert np.abs(got - (color * alpha + 255 * (1 - alpha))).max() <= 1


@in_tmp_path
@given(array=pixels(2))
def test_gray_with_alpha(tmp_path: Path, array: np.ndarray) -> None:
    Image.fromarray(array, "LA").save(tmp_path / "a.png")
    gray, alpha = array[..., 0].astype(float), array[..., 1] / 255
    got = np.asarray(read_image(tmp_path / "a.png")).astype(float)
    assert np.abs(got - (gray * alpha + 255 * (1 - alpha))[..., None]).max() <= 1
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), array[..., 0])


@in_tmp_path
@given(array=pixels(1), palette=hnp.arrays(np.uint8, (256, 3)))
def test_palettes_give_colors_to_images_and_indices_to_masks(
    tmp_path: Path, array: np.ndarray, palette: np.ndarray
) -> None:
    image = Image.fromarray(array, "L")
    image.putpalette(palette.tobytes())
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.png")), palette[array])
    raw, colors = read_mask_with_palette(tmp_path / "a.png")
    np.testing.assert_array_equal(raw, array)
    assert [colors[value] for value in np.unique(array)] == [tuple(palette[v].tolist()) for v in np.unique(array)]


def test_transparent_palette_index_is_white_in_an_image_and_itself_in_a_mask(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "L")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "a.png", transparency=1)
    assert np.asarray(read_image(tmp_path / "a.png")).tolist() == [[[10, 20, 30], [255, 255, 255]]]
    assert read_mask(tmp_path / "a.png").tolist() == [[0, 1]]


@in_tmp_path
@given(array=pixels(1, np.bool_), suffix=st.sampled_from([".png", ".tif", ".bmp"]))
def test_1_bit(tmp_path: Path, array: np.ndarray, suffix: str) -> None:
    Image.fromarray(array).save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / f"a{suffix}"))[..., 0], array * np.uint8(255))
    if suffix != ".bmp":  # BMP stores 1-bit images with a palette, whose order depends on the writer.
        np.testing.assert_array_equal(read_mask(tmp_path / f"a{suffix}"), array)


@in_tmp_path
@given(bits=st.sampled_from([1, 2, 4, 8]), data=st.data())
def test_masks_with_few_bits_give_the_stored_numbers(tmp_path: Path, bits: int, data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 9))
    row = st.lists(st.integers(0, 2**bits - 1), min_size=width, max_size=width)
    rows = data.draw(st.lists(row, min_size=1, max_size=4))
    (tmp_path / "a.png").write_bytes(gray_png(bits, rows))
    assert read_mask(tmp_path / "a.png").tolist() == rows


@in_tmp_path
@given(array=pixels(3))
def test_color_masks_come_as_packed_colors(tmp_path: Path, array: np.ndarray) -> None:
    Image.fromarray(array).save(tmp_path / "a.png")
    raw = read_mask(tmp_path / "a.png")
    assert [[unpack_color(int(value)) for value in row] for row in raw] == [
        [tuple(p) for p in r] for r in array.tolist()
    ]
    Image.fromarray(np.dstack([array, array[..., 0]]), "RGBA").save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "b.png"), raw)


def test_cmyk(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 3), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert np.asarray(read_image(tmp_path / "a.tif"))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_exif_rotation_moves_image_and_mask_alike(tmp_path: Path, orientation: int, mode: str) -> None:
    source = Image.new(mode, (3, 2))
    if mode == "P":
        source.putpalette([0, 0, 0, 255, 255, 255])
    source.putpixel((0, 0), {"RGB": (255,) * 3, "RGBA": (255,) * 4, "I;16": 65535, "P": 1}.get(mode, 255))
    exif = Image.Exif()
    exif[0x0112] = orientation
    source.save(tmp_path / "a.png", exif=exif)
    corner = {1: (0, 0), 2: (0, 2), 3: (1, 2), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (2, 1), 8: (2, 0)}[orientation]
    mask = read_mask(tmp_path / "a.png")
    assert mask.shape == ((2, 3) if orientation < 5 else (3, 2))
    assert np.argwhere(mask == mask.max()).tolist() == [list(corner)]
    if mode != "RGBA":
        bright = np.asarray(read_image(tmp_path / "a.png"))[..., 0]
        assert np.argwhere(bright == 255).tolist() == [list(corner)]


@in_tmp_path
@given(
    exif=st.binary(max_size=60),
    head=st.sampled_from([b"", b"Exif\0\0", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08\0\x01\x01\x12"]),
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_exif_is_ignored(tmp_path: Path, exif: bytes, head: bytes) -> None:
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png", exif=head + exif)
    assert sorted(read_image(tmp_path / "a.png").size) == [2, 3]


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (2, 2), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    for name in ("a.tif", "a.gif"):
        assert np.asarray(read_image(tmp_path / name))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".tif", ".webp", ".ppm"])
def test_a_cut_file_is_an_error_and_never_another_image(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, Image.registered_extensions()[suffix])
    whole, path = buffer.getvalue(), tmp_path / f"cut{suffix}"
    path.write_bytes(whole)
    expected = np.asarray(read_image(path))
    for length in [*range(0, len(whole) - 20, 29), *range(len(whole) - 20, len(whole))]:
        path.write_bytes(whole[:length])
        try:
            got = read_image(path)
        except UserError as error:
            assert str(error).startswith(f"{path}: not a readable image (")
            assert "\n" not in str(error)
        else:
            assert len(whole) - length <= 20  # Only a checksum or the end marker is missing, no pixel.
            np.testing.assert_array_equal(np.asarray(got), expected)


@in_tmp_path
@given(
    content=st.binary(max_size=300),
    head=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF89a"]),
)
def test_any_other_bytes_give_one_line_that_names_the_file(tmp_path: Path, content: bytes, head: bytes) -> None:
    path = tmp_path / "a [b] & <c>.png"
    path.write_bytes(head + content)
    for read in (read_image, read_mask):
        with pytest.raises(UserError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: not a readable image (")
        assert "\n" not in str(caught.value)


def test_a_cut_file_is_called_truncated(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    with pytest.raises(UserError, match=r"a\.png: not a readable image \(truncated file\); replace it"):
        read_image(tmp_path / "a.png")


def test_files_without_fixed_meaning_are_refused(tmp_path: Path) -> None:
    Image.new("F", (2, 2)).save(tmp_path / "f.tif")
    Image.new("I", (2, 2), -1).save(tmp_path / "i.tif")
    Image.new("RGB", (2, 2)).save(tmp_path / "j.jpg")
    for read, name, says in [
        (read_image, "f.tif", "32-bit"),
        (read_image, "i.tif", "32-bit"),
        (read_mask, "f.tif", "floats"),
        (read_mask, "i.tif", "outside 0 to"),
        (read_mask, "j.jpg", "JPEG"),
        (read_image, "nowhere.png", "no such file"),
        (read_image, ".", "a folder"),
    ]:
        with pytest.raises(UserError, match=says):
            read(tmp_path / name)


def test_an_image_too_large_to_be_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (40, 40)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match="cut it into smaller images"):
        read_image(tmp_path / "a.png")


def test_a_file_without_read_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Path) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(Image, "open", deny)
    with pytest.raises(UserError, match=r"a\.png: cannot be read \(permission denied\); change its permissions"):
        read_image(tmp_path / "a.png")


def test_32_bit_masks_with_plain_ids(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 70000]], dtype=np.int32)).save(tmp_path / "a.tif")
    assert read_mask(tmp_path / "a.tif").tolist() == [[0, 70000]]
