"""Units and their activations, pixel by pixel."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scaleprotoseg.errors import UserError
from scaleprotoseg.inference.tiles import to_tensor
from scaleprotoseg.inference.units import above_quantile, activations_of, at_pixels, units_of
from tests.builders.images import toy_sample
from tests.builders.networks import black_box, grouped_network, small_network

QUANTILES = {0.0: Fraction(0), 0.5: Fraction(1, 2), 0.8: Fraction(4, 5), 0.9: Fraction(9, 10), 0.95: Fraction(19, 20)}


@given(
    st.integers(1, 41).flatmap(
        lambda n: st.lists(st.lists(st.integers(-9, 9), min_size=n, max_size=n), min_size=1, max_size=3)
    ),
    st.sampled_from(sorted(QUANTILES)),
)
def test_above_quantile_by_sorting(rows, quantile):
    values = np.array(rows, np.float32)
    on = above_quantile(values, quantile)
    assert on.shape == values.shape and on.dtype == bool
    for row, found in zip(rows, on.tolist(), strict=True):
        place, ordered = QUANTILES[quantile] * (len(row) - 1), sorted(row)
        below, above = ordered[floor(place)], ordered[min(floor(place) + 1, len(row) - 1)]
        assert found == [value > below + (above - below) * (place - floor(place)) for value in row]


def test_a_unit_that_is_the_same_everywhere_is_on_nowhere_in_spite_of_rounding():
    pixels = np.ones((40, 48), bool)
    values = at_pixels(torch.full((1, 7, 9), 0.37), pixels)
    assert len(np.unique(values)) > 1
    assert not above_quantile(values, 0.8).any()


def test_upsampling_pixel_by_pixel():
    maps, pixels = torch.rand(3, 5, 4), np.random.default_rng(0).random((12, 17)) < 0.4
    values = at_pixels(maps, pixels)
    expected = []
    for y, x in np.argwhere(pixels):
        r, c = (min(max((v + 0.5) * n / size - 0.5, 0), n - 1) for v, n, size in ((y, 5, 12), (x, 4, 17)))
        top, left = int(r), int(c)
        corners = [
            (row, column, (1 - abs(r - row)) * (1 - abs(c - column)))
            for row in (top, min(top + 1, 4))
            for column in (left, min(left + 1, 3))
        ]
        total = sum(weight for *_, weight in corners)
        expected.append([sum(float(one[row, col]) * weight for row, col, weight in corners) / total for one in maps])
    np.testing.assert_allclose(values, np.array(expected).T, atol=1e-6)


def test_no_units_and_no_pixels():
    nowhere = np.zeros((6, 8), bool)
    assert at_pixels(torch.rand(2, 3, 4), nowhere).shape == (2, 0)
    assert at_pixels(torch.rand(0, 3, 4), ~nowhere).shape == (0, 48)
    assert above_quantile(np.zeros((2, 0), np.float32), 0.8).shape == (2, 0)
    assert above_quantile(np.zeros((0, 5), np.float32), 0.8).shape == (0, 5)


def test_prototypes_in_use_and_groups():
    network = grouped_network()
    prototypes, groups = units_of(network)
    dense = network.head.unit_weights()
    assert prototypes.index.tolist() == [i for i in range(12) if any(dense[g, i] > 0 for g in range(6))]
    assert 0 < len(prototypes.index) < 12
    layer = network.prototypes
    assert torch.equal(prototypes.unit_class, layer.prototype_class[prototypes.index])
    assert torch.equal(prototypes.scale, layer.prototype_scale[prototypes.index])
    assert groups.unit_class.tolist() == [0, 0, 1, 1, 2, 2] and groups.scale is None
    assert groups.of(1).tolist() == [2, 3] and groups.of(7).tolist() == []


def test_without_groups_prototypes_count_that_some_class_uses():
    network = small_network()
    with torch.no_grad():
        network.head.classifier[:, 4] = 0
        network.head.classifier[1:, 5] = 0
    assert [level.level for level in units_of(network)] == ["prototypes"]
    assert network.prototype_head.used_prototypes().tolist() == [i for i in range(12) if i != 4]


@torch.no_grad()
def test_activations_are_those_of_the_network():
    network, sample = grouped_network(), toy_sample(3)
    units = units_of(network)
    maps_of = activations_of(network, units)
    image = to_tensor(sample.image, network.config.input)[None]
    for alter in (None, lambda pixels: pixels * 0.5):
        output = network(image if alter is None else alter(image))
        prototypes, groups = maps_of(sample, alter)
        torch.testing.assert_close(prototypes, output.similarities[0, units[0].index])
        torch.testing.assert_close(groups, output.groups[0])


def test_a_black_box_is_refused():
    with pytest.raises(UserError, match="has no prototypes"):
        units_of(black_box())
