"""The frame is the smallest box that contains the evidence, found by trying all of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scaleprotoseg.errors import UserError
from scaleprotoseg.evaluation.misalignment import score_misalignment
from scaleprotoseg.formats.bundle import load, save
from scaleprotoseg.model.source import patch_box, reach_of
from scaleprotoseg.training.framing import frame
from scaleprotoseg.training.phases.frame import IMAGES_PER_CLASS
from scaleprotoseg.training.projection import project
from tests.builders.encoders import Around, Everything, Patches
from tests.builders.images import Toys
from tests.builders.networks import patch_network, small_network


def inside_by_scale(network, dataset, reaches):
    network.config = replace(network.config, pyramid=replace(network.config.pyramid, shown=tuple(reaches)))
    return [scale.inside for scale in score_misalignment(network, dataset, images=IMAGES_PER_CLASS).scales]


@pytest.mark.parametrize("encoder", [Patches, Around, Everything])
def test_the_frame_is_the_smallest_box_with_the_evidence(encoder):
    network, dataset = patch_network(encoder(), 6), Toys(3)
    project(network, dataset)
    frame(network, dataset, inside=0.9, images_per_class=IMAGES_PER_CLASS)
    found, expected = network.config.pyramid.shown, []
    rows = np.array([inside_by_scale(network, dataset, (reach, reach)) for reach in range(8)])
    for scale, smallest in enumerate((1, 2)):
        enough = [reach for reach in range(smallest, 8) if rows[reach, scale] >= 0.9]
        expected.append(min(enough, default=6))
    if encoder is Patches:
        assert found == (1, 2)
    if encoder is Around:
        assert max(found) > 2
    assert found == tuple(expected)


def test_sources_show_what_was_found_and_the_bundle_keeps_it(tmp_path):
    network, dataset = small_network(), Toys(4)
    project(network, dataset)
    before = list(network.sources)
    network.sources[0] = None
    frame(network, dataset, inside=0.95, images_per_class=IMAGES_PER_CLASS)
    assert network.sources[0] is None
    grid = tuple(network.pyramid_map(torch.zeros(1, 3, 40, 48)).shape[-2:])
    for old, new, scale in zip(before[1:], network.sources[1:], network.prototypes.prototype_scale[1:], strict=True):
        assert (old.image, old.cell, old.distance) == (new.image, new.cell, new.distance)
        assert new.box == patch_box(old.cell, grid, (48, 40), reach_of(network.config, int(scale)))
    save(network, tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.config == network.config and again.sources == network.sources


def test_other_images_cannot_be_framed():
    network = small_network()
    project(network, Toys(4))
    with pytest.raises(UserError, match="project again first"):
        frame(network, Toys(2, first=30), inside=0.9, images_per_class=IMAGES_PER_CLASS)
