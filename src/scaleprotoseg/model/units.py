"""The units an explanation is told in, prototypes and groups, and their activations on pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from scaleprotoseg.data.dataset import Sample
from scaleprotoseg.model.groups import GroupHead
from scaleprotoseg.model.inference import Alter, in_tiles, require_prototypes, used_prototypes
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.output import Output

Level = Literal["prototypes", "groups"]

ROUNDING = 1e-6
"""Relative difference that bilinear upsampling in single precision makes between equal activations, at most."""


@dataclass(frozen=True)
class Units:
    """The U prototypes in use, or the U groups, of a model.

    Attributes:
        level: Which of the two.
        index: (U,) place of each among all of the model's.
        unit_class: (U,) class of each.
        scale: (U,) scale of each prototype; None for groups, which span all.
    """

    level: Level
    index: Tensor
    unit_class: Tensor
    scale: Tensor | None

    def of(self, label: int) -> npt.NDArray[np.intp]:
        """Positions of the units of one class."""
        return np.flatnonzero(self.unit_class.numpy() == label)


Maps = Callable[[Sample, Alter | None], list[Tensor]]
"""Activations of every level's units on one picture, which may be altered first: (U, h, w) each, on the CPU."""


def units_of(network: Network) -> list[Units]:
    """A model's prototypes in use and, if it has them, its groups.

    Raises:
        UserError: If the network has no prototypes.
    """
    head = require_prototypes(network)
    used = used_prototypes(network)
    layer = head.prototypes
    units = [Units("prototypes", used, layer.prototype_class.cpu()[used], layer.prototype_scale.cpu()[used])]
    if isinstance(head, GroupHead):
        units.append(Units("groups", torch.arange(len(head.group_class)), head.group_class.cpu(), None))
    return units


def activations_of(network: Network, units: list[Units]) -> Maps:
    """How the units of a network activate on pictures, at feature resolution and in bounded memory.

    Args:
        network: In eval mode.
        units: As :func:`units_of` gives them.
    """
    counts = [len(level.index) for level in units]

    def read(tile: Tensor) -> Tensor:
        output: Output = network(tile)
        maps = {"prototypes": output.similarities, "groups": output.groups}
        return torch.cat([maps[level.level][:, level.index.to(tile.device)] for level in units], dim=1)  # type: ignore[index]

    def maps_of(sample: Sample, alter: Alter | None) -> list[Tensor]:
        with torch.inference_mode():
            return list(torch.split(in_tiles(network, sample.pixels, read, alter=alter), counts))

    return maps_of


def at_pixels(maps: Tensor, pixels: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Bilinearly upsampled activations at some pixels of a picture.

    Args:
        maps: (U, h, w) activations at feature resolution.
        pixels: (H, W) which pixels, at the picture's size.

    Returns:
        (U, n) values at the n pixels, in reading order.
    """
    size = pixels.shape
    where = torch.from_numpy(pixels)
    values = [
        F.interpolate(one[None, None], size=size, mode="bilinear", align_corners=False)[0, 0][where] for one in maps
    ]
    return torch.stack(values).numpy() if values else np.zeros((0, int(pixels.sum())), np.float32)


def above_quantile(values: npt.NDArray[np.float32], quantile: float) -> npt.NDArray[np.bool_]:
    """Which of each unit's values lie above their own quantile.

    Strictly above, by more than rounding: of a unit that is the same everywhere nothing is on, for it points at
    nothing.

    Args:
        values: (U, n) activations.
        quantile: In 0-1; at 0.8 at most a fifth of the values is on, of n different values ceil(0.2 (n - 1)).
    """
    if values.size == 0:
        return np.zeros(values.shape, dtype=bool)
    # The next smaller value instead of an interpolated one: the same values are above it.
    place = int(quantile * (values.shape[1] - 1))
    threshold = np.partition(values, place, axis=1)[:, place, None]
    return np.asarray(values > threshold + ROUNDING * abs(threshold))
