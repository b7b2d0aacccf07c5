"""Resizing masks and writing them as PNG."""

from __future__ import annotations

import io

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import tv_tensors

from scaleprotoseg.data.dataset import Sample
from scaleprotoseg.data.masks import palette_png, resize_labels
from scaleprotoseg.data.transforms import RandomScale, TrainingStream, augmentation
from tests.builders.images import Toys

SIDES = st.integers(1, 12)


@given(old=st.tuples(SIDES, SIDES), new=st.tuples(SIDES, SIDES))
@settings(deadline=None)
def test_every_new_pixel_has_the_label_at_its_center(old, new):
    mask = torch.arange(old[0] * old[1], dtype=torch.uint8).reshape(old)
    resized = resize_labels(mask[None], new)[0]
    assert resized.shape == new and resized.dtype == torch.uint8
    for row in range(new[0]):
        for column in range(new[1]):
            y, x = (2 * row + 1) * old[0] // (2 * new[0]), (2 * column + 1) * old[1] // (2 * new[1])
            assert resized[row, column] == mask[y, x]


def test_training_masks_match_their_images():
    """A mask that equals the brightness of its image still does at a third of the size."""
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (39, 1))

    class Ramps(Toys):
        def __getitem__(self, index):
            return Sample("ramp", Image.fromarray(ramp).convert("RGB"), ramp)

    thirds = augmentation((13, 20), (1.0, 1.0), (0.5,) * 3)
    stream = TrainingStream(Ramps(), 3, lambda width, height: (height // 3, width // 3), thirds, seed=0, length=4)
    for image, mask, _ in (stream[index] for index in range(4)):
        assert (image[0].int() - mask.int())[:, 2:-2].abs().max() <= 1
    image, mask = tv_tensors.Image(torch.from_numpy(ramp)[None]), tv_tensors.Mask(torch.from_numpy(ramp)[None])
    image, mask = RandomScale((1 / 3, 1 / 3))(image, mask)
    assert mask.shape == (1, 13, 20)
    assert (image - mask.int())[0, :, 2:-2].abs().max() <= 1


def test_palette_pngs_hold_their_indices():
    index = np.array([[0, 1], [2, 1]], np.uint8)
    palette = np.array([(0, 0, 0), (255, 0, 0), (0, 9, 0)], np.uint8)
    read = Image.open(io.BytesIO(palette_png(index, palette, np.array([0, 255, 150], np.uint8))))
    assert (np.array(read) == index).all()
    assert (np.array(read.convert("RGBA"))[1, 0] == (0, 9, 0, 150)).all()
