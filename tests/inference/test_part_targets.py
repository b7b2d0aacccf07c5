"""Target pixels of object parts, against walking over the pixels."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from scaleprotoseg.inference.part_targets import centroids
from tests.builders.reference import centroid_of, components_of


@given(arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_centroids_by_walking(region):
    expected = [centroid_of(component) for component in components_of(region)]
    found = [divmod(int(place), region.shape[1]) for place in centroids(region)]
    assert sorted(found) == sorted(expected)
