"""Means whose denominator is counted over all processes."""

from __future__ import annotations

import torch
from torch import Tensor

from scaleprotoseg.distributed import average


def mean_count(count: Tensor) -> Tensor:
    """Return the mean of a count over all processes, to divide a sum by; 1 if it is 0, so that gradients are 0.

    >>> mean_count(torch.tensor(3.0)), mean_count(torch.tensor(0.0))
    (tensor(3.), tensor(1.))
    """
    mean = average(count)
    return mean.where(mean > 0, torch.ones_like(mean))


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the values where ``mask`` is true, over all processes; 0 if it is true nowhere.

    Args:
        values: Values of any shape.
        mask: Booleans of the same shape.

    >>> masked_mean(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([True, True, False]))
    tensor(1.5000)
    """
    return (values * mask).sum() / mean_count(mask.sum().to(values.dtype))
