"""All ways to upsample agree with ``F.interpolate``."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scaleprotoseg.model import upsampling
from scaleprotoseg.model.upsampling import upsample, upsample_by_products, upsampled_at, upsampled_strips

shapes = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


def interpolated(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, h, w) maps at another size."""
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]


@given(shape=shapes, size=sizes)
@settings(deadline=None)
def test_whole_maps(shape, size):
    maps = torch.randn(2, *shape)
    expected = torch.stack([interpolated(one, size) for one in maps])
    assert torch.equal(upsample(maps, size), expected)
    torch.testing.assert_close(upsample_by_products(maps, size), expected, atol=1e-5, rtol=1e-5)


@given(shape=shapes, size=sizes)
@settings(max_examples=30, deadline=None)
def test_gradients_of_whole_maps(shape, size):
    maps, weights = torch.randn(2, *shape, requires_grad=True), torch.randn(2, shape[0], *size)
    expected, *others = (
        torch.autograd.grad((upsampled * weights).sum(), maps)[0]
        for upsampled in (
            F.interpolate(maps, size=size, mode="bilinear", align_corners=False),
            upsample(maps, size),
            upsample_by_products(maps, size),
        )
    )
    for gradient in others:
        torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-4)


@given(shape=shapes, size=sizes)
@settings(deadline=None)
def test_strips(shape, size):
    maps = torch.randn(shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upsampling, "STRIP_VALUES", 3 * size[1] * shape[0])  # three rows per strip
        strips = list(upsampled_strips(maps, size[1], size[0]))
    assert len(strips) == -(-size[0] // 3)
    torch.testing.assert_close(torch.cat(strips, dim=1), interpolated(maps, size), atol=1e-5, rtol=1e-5)


@given(shape=shapes, size=sizes, data=st.data())
@settings(deadline=None)
def test_one_pixel(shape, size, data):
    maps = torch.randn(shape)
    y, x = (data.draw(st.integers(0, side - 1)) for side in size)
    found = upsampled_at(maps, x, y, width=size[1], height=size[0])
    torch.testing.assert_close(found, interpolated(maps, size)[:, y, x], atol=1e-5, rtol=1e-5)
