"""Running a network over an image of any size, tile by tile, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from scaleprotoseg.data.pixels import Pixels, to_channels
from scaleprotoseg.model.config import InputConfig, InputSize
from scaleprotoseg.model.network import Network

TILE = 1024
"""Side of a tile in pixels; larger images are processed tile by tile."""

MARGIN = 256
"""Pixels around a tile that the network sees as well, so that cells at the tile's border have their context."""

Alter = Callable[[Tensor], Tensor]
"""Changes a (channels, H, W) image in 0-1 before the network sees it."""


def input_size(size: InputSize, width: int, height: int) -> tuple[int, int]:
    """Return the (height, width) at which the network sees an image; at least one pixel each.

    Args:
        size: Length of the shorter side, (height, width), or None for the image's own size.
        width: Width of the image.
        height: Height of the image.

    >>> input_size(256, width=640, height=512)
    (256, 320)
    """
    if size is None:
        return height, width
    if isinstance(size, int):
        scale = size / min(width, height)
        return max(1, round(height * scale)), max(1, round(width * scale))
    return size


def to_tensor(pixels: Pixels, config: InputConfig, size: InputSize = None) -> Tensor:
    """Convert an image to the tensor that the network takes.

    Args:
        pixels: An image of any size.
        config: Channels and size of the network's input.
        size: Size to resize the image to; None = the network's input size.

    Returns:
        (channels, h, w) floats in 0-1.
    """
    tensor = to_channels(pixels, len(config.mean), "image")
    height, width = tensor.shape[-2:]
    wanted = input_size(config.size if size is None else size, width, height)
    if wanted != (height, width):
        tensor = TF.resize(tensor, list(wanted), antialias=True)
    return tensor / 255 if tensor.is_floating_point() else TF.to_dtype(tensor, torch.float32, scale=True)


def in_tiles(
    network: Network,
    pixels: Pixels,
    compute: Callable[[Tensor], Tensor],
    size: InputSize = None,
    alter: Alter | None = None,
) -> Tensor:
    """Compute maps of a whole image in bounded memory.

    Images larger than ``TILE`` are processed in tiles whose cells coincide with those of the whole image. Each tile is
    processed with ``MARGIN`` pixels of its surroundings, which are cut off again.

    Args:
        network: The network that ``compute`` uses, in eval mode.
        pixels: An image of any size.
        compute: Maps a (1, channels, H, W) float image in 0-1 to (1, N, h, w) maps at feature resolution.
        size: Size to resize the image to; None = the network's input size.
        alter: Changes the whole (channels, H, W) image in 0-1 first, for example by noise or by a mask.

    Returns:
        (N, h, w) float32 maps on the CPU.
    """
    tensor = to_tensor(pixels, network.config.input, size)
    if alter is not None:
        tensor = alter(tensor)
    height, width = tensor.shape[-2:]

    def maps_of(tile: Tensor) -> Tensor:
        return compute(tile[None].to(network.mean.device))[0].float().cpu()

    if max(height, width) <= TILE:
        return maps_of(tensor)
    stride = network.encoder.stride
    lines = []
    for top in range(0, height, TILE):
        line = []
        for left in range(0, width, TILE):
            y, x = max(0, top - MARGIN), max(0, left - MARGIN)
            maps = maps_of(tensor[:, y : top + TILE + MARGIN, x : left + TILE + MARGIN])
            # The last tile keeps all its cells: some encoders have one more than whole strides.
            rows = TILE // stride if top + TILE < height else None
            columns = TILE // stride if left + TILE < width else None
            line.append(maps[:, (top - y) // stride :, (left - x) // stride :][:, :rows, :columns])
        lines.append(torch.cat(line, dim=2))
    return torch.cat(lines, dim=1)


@torch.inference_mode()
def grid_of(network: Network, pixels: Pixels) -> tuple[int, int]:
    """Return the (height, width) of an image's feature map."""
    maps = in_tiles(network, pixels, lambda tile: network.encoder(tile)[:, :1])
    return maps.shape[1], maps.shape[2]
