"""Similarities of an image of any size to the prototypes of a network."""

from __future__ import annotations

import torch
from torch import Tensor

from scaleprotoseg.data.pixels import Pixels
from scaleprotoseg.inference.tiles import Alter, in_tiles
from scaleprotoseg.model.network import Network


@torch.inference_mode()
def similarities_of(
    network: Network, pixels: Pixels, prototypes: Tensor | None = None, alter: Alter | None = None
) -> Tensor:
    """Compute the similarities of all cells of an image to prototypes.

    Args:
        network: Network with prototypes, in eval mode.
        pixels: An image of any size.
        prototypes: (n,) indices of the prototypes; None = all.
        alter: Changes the whole (channels, H, W) image in 0-1 first.

    Returns:
        (n, h, w) float32 similarities on the CPU.
    """

    def similarities(tile: Tensor) -> Tensor:
        maps: Tensor = network(tile).similarities
        return maps if prototypes is None else maps[:, prototypes.to(tile.device)]

    return in_tiles(network, pixels, similarities, alter=alter)
