"""Class scores, class maps and probabilities of an image of any size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from scaleprotoseg.data.pixels import Pixels
from scaleprotoseg.inference.tiles import in_tiles
from scaleprotoseg.model.config import InputSize
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.upsampling import upsampled_strips


@torch.inference_mode()
def logits_of(network: Network, pixels: Pixels, size: InputSize = None) -> Tensor:
    """Compute the class scores of a whole image at feature resolution.

    Args:
        network: In eval mode.
        pixels: An image of any size.
        size: Size to resize the image to; None = the network's input size.

    Returns:
        (C, h, w) float32 logits on the CPU.
    """
    return in_tiles(network, pixels, lambda tile: network(tile).logits, size)


def class_map(logits: Tensor, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Find the best class of every pixel from bilinearly upsampled logits.

    Args:
        logits: (C, h, w) scores at feature resolution.
        width: Width of the image.
        height: Height of the image.

    Returns:
        (height, width) train ids.
    """
    # NumPy's argmax over the first axis is several times as fast as torch's.
    strips = [scores.numpy().argmax(axis=0) for scores in upsampled_strips(logits, width, height)]
    return np.concatenate(strips).astype(np.uint8)


def probabilities(logits: Tensor, width: int, height: int) -> npt.NDArray[np.float32]:
    """Compute the softmax of bilinearly upsampled logits.

    Args:
        logits: (C, h, w) scores at feature resolution.
        width: Width of the image.
        height: Height of the image.

    Returns:
        (C, height, width) probabilities that sum to 1 over the classes.
    """
    strips = [scores.softmax(dim=0).numpy() for scores in upsampled_strips(logits, width, height)]
    return np.concatenate(strips, axis=1)
