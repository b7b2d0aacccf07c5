"""Noise and masking, against doing them by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scaleprotoseg.inference.alterations import masking, noise_of, pixels_in_box
from scaleprotoseg.inference.part_options import PartOptions

STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def test_noise_is_on_the_normalized_image_and_repeats():
    image, options = torch.rand(3, 40, 50), PartOptions(seed=3)
    noise = (noise_of(options, 5, STD)(image) - image) / STD
    assert float(noise.std()) == pytest.approx(0.2, rel=0.05) and abs(float(noise.mean())) < 0.02
    assert float(noise.abs().max()) > 0.4
    alter = noise_of(options, 5, STD)
    assert torch.equal(alter(image), alter(image))
    assert torch.equal(alter(image), noise_of(options, 5, STD)(image))
    for other in (noise_of(options, 6, STD), noise_of(replace(options, seed=4), 5, STD)):
        assert not torch.isclose(alter(image), other(image)).any(dim=0).all()
    # The seed and the index of the image are not simply added.
    assert not torch.equal(alter(image), noise_of(replace(options, seed=2), 6, STD)(image))


def test_clipped_noise_stays_within_its_bounds():
    image, options = torch.rand(3, 40, 50), PartOptions(noise="clipped")
    noise = (noise_of(options, 0, STD)(image) - image) / STD
    plain = (noise_of(PartOptions(), 0, STD)(image) - image) / STD
    assert float(noise.abs().max()) == pytest.approx(0.25, abs=1e-5)
    torch.testing.assert_close(noise, plain.clamp(-0.25, 0.25), atol=1e-5, rtol=0)
    half = (noise_of(replace(options, deviation=0.1), 0, STD)(image) - image) / STD
    assert float(half.std()) == pytest.approx(0.1, rel=0.05)


@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.lists(st.integers(0, 12), min_size=4, max_size=4),
)
def test_pixels_in_a_box_one_by_one(image_size, size, corners):
    box, (width, height), (rows, columns) = tuple(corners), image_size, size
    found = pixels_in_box(box, image_size, size)
    for row in range(rows):
        for column in range(columns):
            # Doubled, so that whole numbers are compared.
            x, y = (2 * column + 1) * width, (2 * row + 1) * height
            inside = 2 * box[0] * columns <= x < 2 * box[2] * columns and 2 * box[1] * rows <= y < 2 * box[3] * rows
            assert bool(found[row, column]) == inside


@pytest.mark.parametrize("visible", ["inside", "outside"])
def test_masking_leaves_one_side_of_a_box(visible):
    image, color = torch.rand(3, 4, 6), torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    altered = masking((2, 0, 8, 4), (12, 8), visible, color)(image)
    for y in range(4):
        for x in range(6):
            inside = y < 2 and 1 <= x < 4
            kept = inside == (visible == "inside")
            assert torch.equal(altered[:, y, x], image[:, y, x] if kept else color[:, 0, 0])
