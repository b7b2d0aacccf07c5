"""The receptive field: how much of a picture can change one cell of the pyramid."""

from __future__ import annotations

import torch
from torch import Tensor

from scaleprotoseg.evaluation.precision import in_double
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.source import reach_of

SHORT = 32
"""Side of a strip of picture in pixels, in the direction that is not measured."""

LONG = (256, 512, 1024, 2048, 4096)
"""Lengths of strips that are tried, until the receptive field ends well inside."""

MARGIN = 64
"""Pixels between the field and the ends of its strip, at least: more than any one convolution of an encoder leaps."""

STRIPS = 2
"""Random strips of each length, for one alone may leave a path of the network without gradient."""

Extent = int | None
"""Input pixels; None where it is longer than any strip, as it is if the network pools over the whole picture."""


@torch.inference_mode(False)
@torch.enable_grad()
def receptive_fields(network: Network) -> list[tuple[Extent, Extent]]:
    """The receptive field of every scale, from the gradient of one cell with respect to the input.

    Convolutions reach as far down as their kernels are high, whatever they read across, so that height and width are
    measured one by one, each on strips of noise which are long in that direction alone. The field is what a strip has
    between the first and the last pixel with a gradient; in double precision, for it not to vanish on the way. Weights
    are those the network has: a branch whose weights are zero reaches nowhere.

    Args:
        network: In eval mode.

    Returns:
        For each scale (height, width) in pixels of the picture as the network sees it.
    """
    network = in_double(network)
    heights, widths = (_extents(network, down) for down in (True, False))
    return list(zip(heights, widths, strict=True))


def _extents(network: Network, down: bool) -> list[Extent]:
    """The height (``down``) or width of every scale's receptive field."""
    scales = range(network.pyramid.num_scales)
    # A strip that ends nearer may be too short for a branch to find anything but padding on both sides.
    margin = max(MARGIN, *(reach_of(network.config, scale) * network.encoder.stride for scale in scales))
    for length in LONG:
        extents = [_between(reached, margin) for reached in _reached(network, length, down)]
        if None not in extents:
            break
    return extents


def _between(reached: Tensor, margin: int) -> Extent:
    """Pixels from the first to the last that is reached; None if these are too near to the ends of the strip."""
    places = reached.nonzero().flatten().tolist()
    if not places:
        return 0
    inside = margin <= places[0] and places[-1] < len(reached) - margin
    return places[-1] - places[0] + 1 if inside else None


def _reached(network: Network, length: int, down: bool) -> Tensor:
    """(S, length) which places along a strip change the cell in its middle, for each scale."""
    generator = torch.Generator().manual_seed(0)
    size = (length, SHORT) if down else (SHORT, length)
    scales, channels = network.pyramid.num_scales, network.pyramid.channels
    reached = torch.zeros(scales, length, dtype=torch.bool)
    for _ in range(STRIPS):
        noise = torch.randn(1, len(network.mean), *size, generator=generator, dtype=torch.double)
        strip = (network.mean + network.std * noise.to(network.mean.device)).requires_grad_()
        maps = network.pyramid_map(strip)[0]
        middle = maps[:, maps.shape[1] // 2, maps.shape[2] // 2].reshape(scales, channels).sum(dim=1)
        for scale in range(scales):
            (gradient,) = torch.autograd.grad(middle[scale], strip, retain_graph=True)
            reached[scale] |= (gradient[0] != 0).any(dim=0).any(dim=1 if down else 0).cpu()
    return reached
