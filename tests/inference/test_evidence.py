"""The choice of images in which evidence is measured; the measurement itself is tested as misalignment."""

from __future__ import annotations

import numpy as np

from scaleprotoseg.data.labels import VOID
from scaleprotoseg.inference.evidence import choose_images
from tests.builders.images import Given, sample_of


def test_images_are_chosen_by_seed_among_those_that_show_the_class():
    masks = [np.array([[label, 0, VOID]], np.uint8) for label in (1, 1, 2, 1, 1, 1, 0, 1)]
    dataset = Given([sample_of(mask) for mask in masks])
    chosen = choose_images(dataset, [0, 1, 2], 3, seed=0)
    by_class = [{index for index, labels in chosen.items() if label in labels} for label in range(3)]
    assert [len(indices) for indices in by_class] == [3, 3, 1] and by_class[2] == {2}
    assert by_class[1] <= {0, 1, 3, 4, 5, 7}
    assert choose_images(dataset, [0, 1, 2], 3, seed=0) == chosen
    others = [choose_images(dataset, [1], 3, seed) for seed in range(1, 9)]
    assert any(set(other) != by_class[1] for other in others)
    assert set(choose_images(dataset, [1], 99, seed=0)) == {0, 1, 3, 4, 5, 7}
