"""Full-size inference: pictures of any size in, class maps of the same size out, memory bounded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.config import InputConfig
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.output import Output
from scaleprotoseg.model.prototypes import PrototypeLayer

TILE = 1024
"""Side of a tile in pixels; larger pictures are read tile by tile."""

MARGIN = 256
"""Pixels around a tile that the network sees as well, so that its border cells know their surroundings."""


def fastest_device() -> torch.device:
    """The accelerator PyTorch finds (CUDA, MPS, ...), else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def input_size(config: InputConfig, width: int, height: int) -> tuple[int, int]:
    """(height, width) a picture has when the network sees it.

    Raises:
        UserError: If the picture would have no pixel left.
    """
    if config.size is None:
        return height, width
    if isinstance(config.size, int):
        scale = config.size / min(width, height)
        return max(1, round(height * scale)), max(1, round(width * scale))
    return config.size


def to_tensor(image: Image.Image, config: InputConfig) -> Tensor:
    """(3, h, w) float picture in 0-1 at the network's input size."""
    tensor = TF.pil_to_tensor(image)
    size = input_size(config, image.width, image.height)
    if size != tuple(tensor.shape[-2:]):
        tensor = TF.resize(tensor, list(size), antialias=True)
    scaled: Tensor = TF.to_dtype(tensor, torch.float32, scale=True)
    return scaled


@torch.inference_mode()
def logits_of(network: Network, image: Image.Image) -> Tensor:
    """Class scores of a whole picture at feature resolution.

    Pictures larger than ``TILE`` are read in tiles whose cells coincide with those of the whole picture; each
    tile is given ``MARGIN`` pixels of its surroundings, which are cut off again.

    Args:
        network: In eval mode.
        image: RGB, any size.

    Returns:
        (C, h, w) float32 logits on the CPU.
    """
    tensor = to_tensor(image, network.config.input)
    height, width = tensor.shape[-2:]
    if max(height, width) <= TILE:
        return _scores(network, tensor)
    stride = network.config.encoder.output_stride
    rows, columns = -(-height // stride), -(-width // stride)
    logits = torch.empty(len(network.labels), rows, columns)
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            y, x = max(0, top - MARGIN), max(0, left - MARGIN)
            tile = tensor[:, y : top + TILE + MARGIN, x : left + TILE + MARGIN]
            scores = _scores(network, tile)
            inside = scores[:, (top - y) // stride :, (left - x) // stride :][:, : TILE // stride, : TILE // stride]
            r, c = top // stride, left // stride
            logits[:, r : r + inside.shape[1], c : c + inside.shape[2]] = inside
    return logits


def _scores(network: Network, tensor: Tensor) -> Tensor:
    output: Output = network(tensor[None].to(network.mean.device))
    return output.logits[0].float().cpu()


def class_map(logits: Tensor, width: int, height: int) -> npt.NDArray[np.uint8]:
    """The best class of every pixel, from bilinearly upsampled logits, a strip of rows at a time.

    Args:
        logits: (C, h, w) scores at feature resolution.
        width: Width of the picture as given.
        height: Height of the picture as given.

    Returns:
        (height, width) train ids.
    """
    classes = np.empty((height, width), dtype=np.uint8)
    strip = max(1, 2**24 // (logits.shape[0] * width))
    for top in range(0, height, strip):
        bottom = min(height, top + strip)
        classes[top:bottom] = upsample_rows(logits, width, height, top, bottom).argmax(dim=0).numpy()
    return classes


def upsample_rows(logits: Tensor, width: int, height: int, top: int, bottom: int) -> Tensor:
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


def require_prototypes(network: Network) -> PrototypeLayer:
    """The network's prototype layer; refuses a black box.

    Raises:
        UserError: If the network has none.
    """
    if network.prototypes is None:
        raise UserError(
            f"{network.method} has no prototypes, so there is nothing to explain with; use a model trained "
            "with protoseg or scaleprotoseg"
        )
    return network.prototypes
