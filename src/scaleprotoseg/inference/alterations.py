"""Changes to an image before the network sees it: noise, and masking of a region."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from scaleprotoseg.data.seeds import seed_of
from scaleprotoseg.inference.part_options import PartOptions
from scaleprotoseg.inference.tiles import Alter
from scaleprotoseg.model.source import Box

CLIP = 0.25
"""Largest absolute value of the ``clipped`` noise (Huang et al., 2023, section 4.2)."""

Visible = Literal["inside", "outside"]
"""Side of a box that remains visible while the other side is masked."""


def noise_of(options: PartOptions, index: int, std: Tensor) -> Alter:
    """Return a function that adds noise to the normalized image; the noise depends only on the arguments.

    Args:
        options: Kind, standard deviation and seed of the noise.
        index: Index of the image in its data set.
        std: (channels, 1, 1) standard deviations that the network divides its input by.
    """
    seed = seed_of(options.seed, index)

    def alter(image: Tensor) -> Tensor:
        noise = options.deviation * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
        return image + std.cpu() * (noise.clamp(-CLIP, CLIP) if options.noise == "clipped" else noise)

    return alter


def masking(box: Box, image_size: tuple[int, int], visible: Visible, color: Tensor) -> Alter:
    """Return a function that replaces one side of a box by a uniform color.

    Args:
        box: In pixels of the original image.
        image_size: (width, height) of the original image.
        visible: Side of the box that is not masked.
        color: (channels, 1, 1) values in 0-1 of the masked pixels.
    """

    def alter(image: Tensor) -> Tensor:
        inside = pixels_in_box(box, image_size, (image.shape[1], image.shape[2]))
        return torch.where(inside == (visible == "inside"), image, color)

    return alter


def pixels_in_box(box: Box, image_size: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Find the pixels of a resized image whose centers lie in a box of the original image.

    Args:
        box: In pixels of the original image.
        image_size: (width, height) of the original image.
        size: (height, width) of the resized image.

    Returns:
        (height, width) booleans.

    Example:
        >>> pixels_in_box((0, 0, 2, 4), image_size=(4, 4), size=(2, 4))
        tensor([[ True,  True, False, False],
                [ True,  True, False, False]])
    """
    (left, top, right, bottom), (width, height), (rows, columns) = box, image_size, size
    x = (torch.arange(columns) + 0.5) * width / columns
    y = (torch.arange(rows) + 0.5) * height / rows
    return ((top <= y) & (y < bottom))[:, None] & (left <= x) & (x < right)
