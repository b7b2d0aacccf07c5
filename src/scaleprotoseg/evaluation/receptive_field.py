"""The receptive field: the region of an image whose pixels can change one cell of the pyramid."""

from __future__ import annotations

import torch
from torch import Tensor

from scaleprotoseg.evaluation.double_precision import in_double
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.source import reach_of

STRIP_WIDTH = 32
"""Side of a strip of noise in pixels, in the direction that is not measured."""

STRIP_LENGTHS = (256, 512, 1024, 2048, 4096)
"""Lengths of strips in pixels; they are tried in order until the receptive field ends well inside the strip."""

MARGIN = 64
"""Smallest distance in pixels between the field and the ends of its strip.

It is more than the distance that any single convolution of an encoder spans.
"""

STRIPS = 2
"""Random strips of each length: with a single one, a path of the network may happen to have no gradient."""

Extent = int | None
"""Height or width in input pixels; None if it exceeds all strips, for example by pooling over the whole image."""


@torch.inference_mode(False)
@torch.enable_grad()
def receptive_fields(network: Network) -> list[tuple[Extent, Extent]]:
    """Measure the receptive field of every scale by the gradient of one cell with respect to the input.

    The vertical extent of a convolution does not depend on its horizontal extent. Height and width are therefore
    measured separately, on strips of noise that are long in one direction only. The field extends from the first to the
    last pixel of the strip with a gradient; in double precision, since small gradients would vanish otherwise. The
    network's current weights count: a branch whose weights are zero has no receptive field.

    Args:
        network: Network in eval mode.

    Returns:
        (height, width) for each scale, in pixels of the image as the network sees it.
    """
    network = in_double(network)
    heights, widths = (_extents(network, vertical) for vertical in (True, False))
    return list(zip(heights, widths, strict=True))


def _extents(network: Network, vertical: bool) -> list[Extent]:
    """Measure the height (``vertical``) or the width of every scale's receptive field."""
    scales = range(network.pyramid.num_scales)
    # With a smaller margin, a branch might see only padding on both sides of the cell.
    margin = max(MARGIN, *(reach_of(network.config, scale) * network.encoder.stride for scale in scales))
    for length in STRIP_LENGTHS:
        extents = [_extent(row, margin) for row in _pixels_with_gradient(network, length, vertical)]
        if None not in extents:
            break
    return extents


def _extent(has_gradient: Tensor, margin: int) -> Extent:
    """Return the number of pixels from the first to the last with a gradient.

    Args:
        has_gradient: (length,) True at the pixels along a strip that have a gradient.
        margin: Smallest distance in pixels to the ends of the strip.

    Returns:
        Number of pixels, 0 if none has a gradient; None if the field is too near to the ends of the strip.
    """
    positions = has_gradient.nonzero().flatten().tolist()
    if not positions:
        return 0
    is_inside = margin <= positions[0] and positions[-1] < len(has_gradient) - margin
    return positions[-1] - positions[0] + 1 if is_inside else None


def _pixels_with_gradient(network: Network, length: int, vertical: bool) -> Tensor:
    """Return the (S, length) positions along a strip that change the cell in its middle, for each of S scales."""
    generator = torch.Generator().manual_seed(0)
    size = (length, STRIP_WIDTH) if vertical else (STRIP_WIDTH, length)
    scales, channels = network.pyramid.num_scales, network.pyramid.channels
    has_gradient = torch.zeros(scales, length, dtype=torch.bool)
    for _ in range(STRIPS):
        noise = torch.randn(1, len(network.mean), *size, generator=generator, dtype=torch.double)
        strip = (network.mean + network.std * noise.to(network.mean.device)).requires_grad_()
        maps = network.pyramid_map(strip)[0]
        middle = maps[:, maps.shape[1] // 2, maps.shape[2] // 2].reshape(scales, channels).sum(dim=1)
        for scale in range(scales):
            (gradient,) = torch.autograd.grad(middle[scale], strip, retain_graph=True)
            has_gradient[scale] |= (gradient[0] != 0).any(dim=0).any(dim=1 if vertical else 0).cpu()
    return has_gradient
