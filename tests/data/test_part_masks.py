"""Where parts are, pixel by pixel, and that they stay over their pictures."""

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
from tests.evaluation.toys import PartToys, sample_of
from tests.toys import picture

POINTS = st.builds(Keypoint, st.integers(1, 4), st.floats(0, 8.99), st.floats(0, 6.99))


@given(points=st.lists(POINTS, max_size=5), radius=st.floats(0, 9))
@settings(deadline=None)
def test_every_pixel_near_a_point_is_of_the_nearest_points_part(points, radius):
    mask = part_mask(sample_of(np.zeros((7, 9), np.uint8), keypoints=tuple(points)), radius)
    for y in range(7):
        for x in range(9):
            far = [((y + 0.5 - point.y) ** 2 + (x + 0.5 - point.x) ** 2, point.part) for point in points]
            near = min((distance for distance, _ in far if distance <= radius**2), default=None)
            assert mask[y, x] in ({part for distance, part in far if distance == near} or {0})


def test_drawn_parts_are_taken_as_they_are_and_nothing_else_is_a_part():
    drawn, bare = PartToys()[0], picture(0)
    assert part_mask(drawn, 3.0) is drawn.parts
    assert not part_mask(bare, 3.0).any()


def test_parts_in_training_lie_over_their_pictures():
    """Parts that are told by the brightness of their picture still are after scaling, flipping and cropping."""
    parts = np.repeat(np.arange(1, 5, dtype=np.uint8), 12)[None].repeat(40, 0)

    class Steps(PartToys):
        def __getitem__(self, index):
            grey = Image.fromarray(parts * 40).convert("RGB")
            return replace(sample_of(parts * 40, parts=parts), image=grey)

    stream = TrainingStream(
        Steps(), 3, lambda width, height: (height, width), augmentation((50, 44), (0.7, 1.2), (0.0,) * 3), 0, 12, 10.0
    )
    for image, mask, found in (stream[index] for index in range(12)):
        assert found.shape == mask.shape == image.shape[1:]
        assert torch.equal(found == 0, mask == 255)  # the padding
        assert torch.equal(found, (mask // 40).where(mask != 255, 0))
        assert ((found * 40).int() - image[0].int()).abs().float().mean() < 4
