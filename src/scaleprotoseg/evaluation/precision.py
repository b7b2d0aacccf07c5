"""Double precision, for sums that must come out."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

_Module = TypeVar("_Module", bound=nn.Module)


def in_double(module: _Module) -> _Module:
    """A frozen copy of a module in double precision: where the module is if that is CUDA, else on the CPU.

    Of the accelerators only CUDA has double precision.
    """
    device = next(module.parameters()).device
    place = device if device.type == "cuda" else torch.device("cpu")
    return copy.deepcopy(module).to(place, torch.double).requires_grad_(False)
