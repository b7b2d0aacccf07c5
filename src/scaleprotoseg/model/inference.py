"""Full-size inference: pictures of any size in, class maps of the same size out, memory bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from scaleprotoseg.data.bands import Pixels, to_channels
from scaleprotoseg.distributed import world_size
from scaleprotoseg.errors import UserError
from scaleprotoseg.model.config import InputConfig, InputSize
from scaleprotoseg.model.groups import GroupHead
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.prototypes import PrototypeHead

TILE = 1024
"""Side of a tile in pixels; larger pictures are read tile by tile."""

MARGIN = 256
"""Pixels around a tile that the network sees as well, so that its border cells know their surroundings."""

Alter = Callable[[Tensor], Tensor]
"""Changes a (channels, H, W) picture in 0-1 before the network reads it."""

STRIP_VALUES = 2**24
"""Upsampled scores held at once."""


def fastest_device() -> torch.device:
    """The accelerator PyTorch finds (CUDA, MPS, ...), else the CPU, which several processes without CUDA share."""
    if world_size() > 1 and not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def input_size(size: InputSize, width: int, height: int) -> tuple[int, int]:
    """(height, width) a picture has when the network sees it; at least one pixel each.

    Args:
        size: Length of the shorter side, (height, width), or None for the picture's own size.
        width: Width of the picture as given.
        height: Height of the picture as given.
    """
    if size is None:
        return height, width
    if isinstance(size, int):
        scale = size / min(width, height)
        return max(1, round(height * scale)), max(1, round(width * scale))
    return size


def to_tensor(pixels: Pixels, config: InputConfig, size: InputSize = None) -> Tensor:
    """(N, h, w) float picture in 0-1 with the network's channels, at ``size``; None = the network's input size."""
    tensor = to_channels(pixels, len(config.mean), "picture")
    height, width = tensor.shape[-2:]
    wanted = input_size(config.size if size is None else size, width, height)
    if wanted != (height, width):
        tensor = TF.resize(tensor, list(wanted), antialias=True)
    return tensor / 255 if tensor.is_floating_point() else TF.to_dtype(tensor, torch.float32, scale=True)


@torch.inference_mode()
def logits_of(network: Network, pixels: Pixels, size: InputSize = None) -> Tensor:
    """Class scores of a whole picture at feature resolution, large pictures :func:`in_tiles`.

    Args:
        network: In eval mode.
        pixels: A picture of any size.
        size: What it is resized to before the network sees it; None = the network's input size.

    Returns:
        (C, h, w) float32 logits on the CPU.
    """
    return in_tiles(network, pixels, lambda tile: network(tile).logits, size)


def in_tiles(
    network: Network,
    pixels: Pixels,
    read: Callable[[Tensor], Tensor],
    size: InputSize = None,
    alter: Alter | None = None,
) -> Tensor:
    """What a network reads from a whole picture, with bounded memory.

    Pictures larger than ``TILE`` are read in tiles whose cells coincide with those of the whole picture; each
    tile is given ``MARGIN`` pixels of its surroundings, which are cut off again.

    Args:
        network: In eval mode.
        pixels: A picture of any size.
        read: Takes a (1, channels, H, W) float picture in 0-1, gives (1, N, h, w) maps at feature resolution.
        size: What the picture is resized to before the network sees it; None = the network's input size.
        alter: Changes the whole (channels, H, W) picture in 0-1 before it is read, as noise or a mask does.

    Returns:
        (N, h, w) float32 maps on the CPU.
    """
    tensor = to_tensor(pixels, network.config.input, size)
    if alter is not None:
        tensor = alter(tensor)
    height, width = tensor.shape[-2:]

    def maps_of(tile: Tensor) -> Tensor:
        return read(tile[None].to(network.mean.device))[0].float().cpu()

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


def class_map(logits: Tensor, width: int, height: int) -> npt.NDArray[np.uint8]:
    """The best class of every pixel, from bilinearly upsampled logits.

    Args:
        logits: (C, h, w) scores at feature resolution.
        width: Width of the picture as given.
        height: Height of the picture as given.

    Returns:
        (height, width) train ids.
    """
    # NumPy's argmax over the first axis is several times as fast as torch's.
    strips = [scores.numpy().argmax(axis=0) for scores in upsampled_strips(logits, width, height)]
    return np.concatenate(strips).astype(np.uint8)


def upsampled_strips(logits: Tensor, width: int, height: int) -> Iterator[Tensor]:
    """(C, rows, width) upsampled scores of strips of a picture, top to bottom, each of bounded size."""
    strip = max(1, STRIP_VALUES // (len(logits) * width))
    for top in range(0, height, strip):
        yield _upsample_rows(logits, width, height, top, min(height, top + strip))


def _upsample_rows(logits: Tensor, width: int, height: int, top: int, bottom: int) -> Tensor:
    """Rows ``top`` to ``bottom`` of logits upsampled bilinearly (half-pixel centres) to (height, width).

    Returns:
        (C, bottom - top, width) scores.
    """
    rows = logits.shape[1]
    position = ((torch.arange(top, bottom) + 0.5) * rows / height - 0.5).clamp(0, rows - 1)
    above = position.floor().long()
    share = (position - above)[:, None]
    below = (above + 1).clamp_max(rows - 1)
    lines = logits[:, above] * (1 - share) + logits[:, below] * share
    return F.interpolate(lines, size=width, mode="linear", align_corners=False)


def require_prototypes(network: Network) -> PrototypeHead | GroupHead:
    """The network's head with prototypes; refuses a black box.

    Raises:
        UserError: If the network has none.
    """
    if not isinstance(network.head, (PrototypeHead, GroupHead)):
        raise UserError(
            f"{network.method} has no prototypes, so there is nothing to explain with; use a model trained "
            "with protoseg or scaleprotoseg"
        )
    return network.head


def used_prototypes(network: Network) -> Tensor:
    """(P',) indices of the prototypes that carry weight: in a group, or for a class.

    Raises:
        UserError: If the network has no prototypes.
    """
    head = require_prototypes(network)
    weights = head.dense_weights() if isinstance(head, GroupHead) else head.classifier.detach()
    return (weights != 0).any(dim=0).nonzero().flatten().cpu()
