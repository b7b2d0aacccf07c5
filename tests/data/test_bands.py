"""Images with other bands than red, green and blue, from the file to the explanation of a trained model."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

import scaleprotoseg as sps
from scaleprotoseg.data.images import read_image
from scaleprotoseg.data.pixels import as_image, read_pixels
from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.errors import UserError
from scaleprotoseg.explanation.explanation import explain
from tests.builders.command_line import run
from tests.builders.images import toy_sample, write_folder
from tests.builders.recipes import recipe_values

RNG = np.random.default_rng(0)


@given(
    array=arrays.arrays(
        st.sampled_from([np.uint8, np.uint16, np.uint32]),
        st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6)),
    )
)
def test_numpy_files_are_divided_by_the_largest_value(array, tmp_path_factory):
    path = tmp_path_factory.mktemp("bands") / "a.npy"
    np.save(path, array)
    pixels = read_pixels(path)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, array.astype(float) / np.iinfo(array.dtype).max, atol=1e-6)
    assert as_image(pixels).size == (array.shape[1], array.shape[0])


@pytest.mark.parametrize("bands", [4, 5, 8])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_multi_band_tiff_files(tmp_path, bands, dtype, planar):
    array = RNG.integers(0, np.iinfo(dtype).max, (6, 9, bands)).astype(dtype)
    stored = array if planar == "contig" else np.moveaxis(array, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, extrasamples=[0] * (bands - 3))
    np.testing.assert_allclose(read_pixels(tmp_path / "a.tif"), array / np.iinfo(dtype).max, atol=1e-6)


def test_ordinary_images_are_not_read_as_bands(tmp_path):
    array = RNG.integers(0, 255, (6, 9, 4), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "alpha.tif")
    Image.fromarray(array[..., :3]).save(tmp_path / "plain.tif")
    Image.fromarray(array[..., 0]).save(tmp_path / "gray.tiff")
    Image.fromarray(array[..., 0].astype(np.uint16)).save(tmp_path / "deep gray.tif")
    Image.fromarray(array[..., :3]).save(tmp_path / "plain.png")
    for path in tmp_path.iterdir():
        pixels = read_pixels(path)
        assert isinstance(pixels, Image.Image) and as_image(pixels) is pixels
        assert np.array_equal(np.array(pixels), np.array(read_image(path)))


FAULTY = {
    "signed": (np.zeros((2, 2, 4), np.int16), "unsigned"),
    "too many axes": (np.zeros((2, 2, 2, 4), np.uint8), "shape"),
    "empty": (np.zeros((0, 2, 4), np.uint8), "shape"),
    "floats above 1": (np.full((2, 2, 4), 1.5), "outside 0-1"),
    "not a number": (np.full((2, 2, 4), np.nan), "outside 0-1"),
    "a scalar": (np.array(3, np.uint8), "shape"),
    "objects": (np.array([{}], dtype=object), "not a readable NumPy file"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_files_without_usable_bands(name, tmp_path):
    array, says = FAULTY[name]
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match=says) as error:
        read_pixels(tmp_path / "a.npy")
    assert "a.npy" in str(error.value) and "\n" not in str(error.value)


def test_a_missing_decoder_is_named(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((6, 9, 5), np.uint16), photometric="rgb", extrasamples=[0, 0])

    def undecodable(*_, **__):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr("tifffile.TiffPage.asarray", undecodable)
    with pytest.raises(UserError, match=r"a\.tif: its bands, compressed as NONE, cannot be read .*imagecodecs"):
        read_pixels(tmp_path / "a.tif")


@given(st.binary(max_size=200))
def test_any_bytes_end_in_one_line(content):
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".npy", ".tif"):
            path = Path(folder) / f"a{suffix}"
            path.write_bytes(content)
            with pytest.raises(UserError) as error:
                read_pixels(path)
            assert "\n" not in str(error.value)


@pytest.mark.parametrize(("count", "kind"), [(5, "npy"), (4, "tif"), (1, "png")])
def test_a_training_on_other_bands(count, kind, tmp_path):
    data = write_folder(tmp_path / "data")
    for index in range(8):
        image = np.array(toy_sample(index).image)
        bands = np.concatenate([image, 255 - image], axis=2)[..., :count].astype(np.uint16) * 257
        path = data / "images" / f"toy-{index}"
        if kind == "npy":
            np.save(path, bands)
        elif kind == "tif":
            tifffile.imwrite(path.with_suffix(".tif"), bands, photometric="rgb", extrasamples=[0])
        if kind != "png":
            path.with_suffix(".png").unlink()
    recipe = recipe_values()
    recipe["data"]["name"] = str(data)
    recipe["network"]["input"] = {"mean": [0.5] * count, "std": [0.25] * count}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    assert run("check-data", "--data", data) == 0
    assert run("train", "--config", tmp_path / "recipe.yaml", "--out", tmp_path / "run") == 0
    model = sps.load(tmp_path / "run" / "model")
    assert model.mean.shape == (count, 1, 1)
    sample = open_dataset(str(data), "val")[0]
    assert (sample.bands is None) == (count == 1)
    page = explain(model, sample.pixels)
    why = page.at(20, 20)
    assert sum(group.contribution for group in why.groups) == pytest.approx(why.logit, rel=1e-4)
    file = next((data / "images").glob("toy-6.*"))
    assert np.array_equal(page.prediction, explain(model, file).prediction)
    assert run("predict", tmp_path / "run" / "model", file, "--out", tmp_path / "masks") == 0
    assert np.array_equal(np.array(Image.open(tmp_path / "masks" / "toy-6.png")), page.prediction)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["num_images"] == 2


def test_means_and_deviations_belong_together():
    for mean, std in (((), ()), ((0.5,), (0.5, 0.5)), ((0.5,), (0.0,))):
        with pytest.raises(UserError, match=r"network\.input has \d means"):
            sps.InputConfig(mean=mean, std=std)
