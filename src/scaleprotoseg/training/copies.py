"""Altered copies of training images: one with noise, and one in which only a window is visible."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from scaleprotoseg.data.labels import VOID
from scaleprotoseg.model.prototypes import PrototypeLayer
from scaleprotoseg.model.source import patch_box


class Copies(NamedTuple):
    """The copies that each training image has.

    Attributes:
        noise: Standard deviation of the noise of a noisy copy, on the normalized image; 0 for none.
        window: Cells on each side of a cell that are visible in a masked copy; 0 for none.
    """

    noise: float
    window: int

    @property
    def number(self) -> int:
        """Number of copies."""
        return bool(self.noise) + bool(self.window)


def noisy_copy(images: Tensor, noise: float, std: Tensor, generator: torch.Generator) -> Tensor:
    """Add noise to (B, channels, H, W) images in 0-1; ``generator`` is on the CPU."""
    values = torch.randn(images.shape, generator=generator).to(images.device)
    return images + noise * std * values


def masked_copy(images: Tensor, centers: Tensor, grid: tuple[int, int], window: int, mean: Tensor) -> Tensor:
    """Replace everything outside a window by the mean color.

    Args:
        images: (B, channels, H, W) in 0-1.
        centers: (B,) flat index of the cell in the center of the window; -1 for an image that is masked completely.
        grid: (h, w) of the cells.
        window: Number of cells on each side of the center that are visible.
        mean: (channels, 1, 1) color.
    """
    masked = mean.expand_as(images).clone(memory_format=torch.preserve_format)
    size = images.shape[3], images.shape[2]
    for index, center in enumerate(centers.tolist()):
        if center >= 0:
            left, top, right, bottom = patch_box(divmod(center, grid[1]), grid, size, window)
            masked[index, :, top:bottom, left:right] = images[index, :, top:bottom, left:right]
    return masked


def best_cells(similarities: Tensor, labels: Tensor, layer: PrototypeLayer, generator: torch.Generator) -> Tensor:
    """Choose a random prototype in each image, and find the cell of its class that is most similar to it.

    First one of the classes in the image is chosen, and then one of its prototypes.

    Args:
        similarities: (B, P, h, w) similarities.
        labels: (B, h, w) train ids.
        layer: The prototypes.
        generator: Generator on the CPU.

    Returns:
        (B,) flat index of the cell; -1 if no class in the image has prototypes.
    """
    cells = []
    with_prototypes = set(layer.prototype_class.tolist())
    for maps, mask in zip(similarities.flatten(2), labels.flatten(1), strict=True):
        present = [label for label in torch.unique(mask).tolist() if label != VOID and label in with_prototypes]
        if not present:
            cells.append(-1)
            continue
        label = _choice(torch.tensor(present), generator)
        prototype = _choice((layer.prototype_class == label).nonzero().flatten(), generator)
        cells.append(int(maps[prototype].masked_fill(mask != label, -torch.inf).argmax()))
    return torch.tensor(cells, device=labels.device)


def _choice(values: Tensor, generator: torch.Generator) -> int:
    return int(values[torch.randint(len(values), (), generator=generator)])
