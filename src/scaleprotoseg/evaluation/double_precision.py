"""Double precision, for sums that must be exact to many digits."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

_Module = TypeVar("_Module", bound=nn.Module)


def in_double(module: _Module) -> _Module:
    """Return a frozen copy of a module in double precision, on its own device if that is CUDA, else on the CPU.

    CUDA is the only accelerator with double precision.

    Example:
        >>> in_double(nn.Linear(2, 1)).weight.dtype
        torch.float64
    """
    device = next(module.parameters()).device
    target = device if device.type == "cuda" else torch.device("cpu")
    return copy.deepcopy(module).to(target, torch.double).requires_grad_(False)
