"""Prototypes and groups without a network."""

from __future__ import annotations

import torch

from scaleprotoseg.inference.units import Units


def prototypes_of(classes: list[int], scales: list[int] | None = None) -> Units:
    """One prototype of each of these classes."""
    count = len(classes)
    return Units("prototypes", torch.arange(count), torch.tensor(classes), torch.tensor(scales or [0] * count))


def groups_of(classes: list[int]) -> Units:
    """One group of each of these classes."""
    return Units("groups", torch.arange(len(classes)), torch.tensor(classes), None)
