"""The units of an explanation, prototypes and groups, and their activations on images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from scaleprotoseg.data.dataset import Sample
from scaleprotoseg.inference.tiles import Alter, in_tiles
from scaleprotoseg.model.heads.base import Level
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.upsampling import upsample

ROUNDING = 1e-6
"""Largest relative difference between equal activations after bilinear upsampling in single precision."""


@dataclass(frozen=True)
class Units:
    """The U prototypes in use of a model, or its U groups.

    Attributes:
        level: Prototypes or groups.
        index: (U,) index of each unit among all prototypes or groups of the model.
        unit_class: (U,) class of each unit.
        scale: (U,) scale of each prototype; None for groups, which span all scales.
    """

    level: Level
    index: Tensor
    unit_class: Tensor
    scale: Tensor | None

    def of(self, label: int) -> npt.NDArray[np.intp]:
        """Return the positions of the units of one class."""
        return np.flatnonzero(self.unit_class.numpy() == label)


MapsFunction = Callable[[Sample, Alter | None], list[Tensor]]
"""Computes the (U, h, w) activations of the units of every level on an image, which is altered first, on the CPU."""


def units_of(network: Network) -> list[Units]:
    """Return the prototypes in use of a model and, if it has groups, its groups.

    Raises:
        UserError: If the network has no prototypes.
    """
    head = network.prototype_head
    used = head.used_prototypes()
    layer = head.prototypes
    units = [Units("prototypes", used, layer.prototype_class.cpu()[used], layer.prototype_scale.cpu()[used])]
    if head.level == "groups":
        units.append(Units("groups", torch.arange(len(head.unit_class)), head.unit_class.cpu(), None))
    return units


def activations_of(network: Network, units: list[Units]) -> MapsFunction:
    """Return a function that computes the activations of units on an image, in bounded memory.

    Args:
        network: Network in eval mode.
        units: Units of each level, from :func:`units_of`.
    """
    counts = [len(level.index) for level in units]

    def activations(tile: Tensor) -> Tensor:
        output = network(tile)
        maps = {"prototypes": output.similarities, "groups": output.groups}
        return torch.cat([maps[level.level][:, level.index.to(tile.device)] for level in units], dim=1)

    def maps_of(sample: Sample, alter: Alter | None) -> list[Tensor]:
        with torch.inference_mode():
            return list(torch.split(in_tiles(network, sample.pixels, activations, alter=alter), counts))

    return maps_of


def at_pixels(maps: Tensor, pixels: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Upsample activations bilinearly and return their values at some pixels of an image.

    Args:
        maps: (U, h, w) activations at feature resolution.
        pixels: (H, W) mask of the pixels, at the size of the image.

    Returns:
        (U, n) values at the n pixels, row by row.

    Example:
        >>> at_pixels(torch.tensor([[[0.0, 1.0]]]), np.array([[True, False, False, True]])).tolist()
        [[0.0, 1.0]]
    """
    size = pixels.shape
    chosen = torch.from_numpy(pixels)
    values = [upsample(one[None, None], size)[0, 0][chosen] for one in maps]
    return torch.stack(values).numpy() if values else np.zeros((0, int(pixels.sum())), np.float32)


def above_quantile(values: npt.NDArray[np.float32], quantile: float) -> npt.NDArray[np.bool_]:
    """Find the values of each unit that are above the unit's own quantile.

    A value must be above the quantile by more than rounding, so that a constant unit is active nowhere.

    Args:
        values: (U, n) activations.
        quantile: Quantile in 0-1. At 0.8, at most a fifth of the values is above it; ceil(0.2 (n - 1)) of n different
            values are.

    Returns:
        (U, n) booleans.

    Example:
        >>> above_quantile(np.array([[1, 5, 2, 4, 3], [7, 7, 7, 7, 7]], dtype=np.float32), 0.5)
        array([[False,  True, False,  True, False],
               [False, False, False, False, False]])
    """
    if values.size == 0:
        return np.zeros(values.shape, dtype=bool)
    # The next smaller value instead of an interpolated one: the same values are above it.
    rank = int(quantile * (values.shape[1] - 1))
    threshold = np.partition(values, rank, axis=1)[:, rank, None]
    return np.asarray(values > threshold + ROUNDING * abs(threshold))
