"""Masks of object parts, compared with loops over pixels, and their alignment with images in training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scaleprotoseg.data.dataset import Keypoint
from scaleprotoseg.data.part_masks import part_mask
from scaleprotoseg.data.transforms import TrainingStream, augmentation
from tests.builders.images import PartToys, sample_of, toy_sample

POINTS = st.builds(Keypoint, st.integers(1, 4), st.floats(0, 8.99), st.floats(0, 6.99))


@given(points=st.lists(POINTS, max_size=5), radius=st.floats(0, 9))
@settings(deadline=None)
def test_every_pixel_near_a_point_has_the_part_of_the_nearest_point(points, radius):
    mask = part_mask(sample_of(np.zeros((7, 9), np.uint8), keypoints=tuple(points)), radius)
    for y in range(7):
        for x in range(9):
            distances = [((y + 0.5 - point.y) ** 2 + (x + 0.5 - point.x) ** 2, point.part) for point in points]
            near = min((distance for distance, _ in distances if distance <= radius**2), default=None)
            assert mask[y, x] in ({part for distance, part in distances if distance == near} or {0})


def test_part_masks_are_returned_unchanged_and_samples_without_parts_have_none():
    drawn, bare = PartToys()[0], toy_sample(0)
    assert part_mask(drawn, 3.0) is drawn.parts
    assert not part_mask(bare, 3.0).any()


def test_part_masks_in_training_match_their_images():
    """Parts that are proportional to the brightness of their image still are after scaling, flipping and cropping."""
    parts = np.repeat(np.arange(1, 5, dtype=np.uint8), 12)[None].repeat(40, 0)

    class Steps(PartToys):
        def __getitem__(self, index):
            gray = Image.fromarray(parts * 40).convert("RGB")
            return replace(sample_of(parts * 40, parts=parts), image=gray)

    stream = TrainingStream(
        Steps(), 3, lambda width, height: (height, width), augmentation((50, 44), (0.7, 1.2), (0.0,) * 3), 0, 12, 10.0
    )
    for image, mask, found in (stream[index] for index in range(12)):
        assert found.shape == mask.shape == image.shape[1:]
        assert torch.equal(found == 0, mask == 255)  # The padding.
        assert torch.equal(found, (mask // 40).where(mask != 255, 0))
        assert ((found * 40).int() - image[0].int()).abs().float().mean() < 4
