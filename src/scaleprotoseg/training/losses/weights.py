"""Losses of the head's weights alone, whatever the images are."""

from __future__ import annotations

import torch
from torch import Tensor


def foreign_l1(classifier: Tensor, unit_class: Tensor) -> Tensor:
    """Return the L1 norm of the classifier weights between units and classes that are not their own.

    Args:
        classifier: (C, U) weights.
        unit_class: (U,) class of each prototype or group.

    >>> foreign_l1(torch.tensor([[1.0, -0.5], [0.25, 1.0]]), torch.tensor([0, 1]))
    tensor(0.7500)
    """
    own = unit_class == torch.arange(len(classifier), device=classifier.device)[:, None]
    return classifier.masked_fill(own, 0).abs().sum()


def group_entropy(weights: Tensor, valid: Tensor) -> Tensor:
    """Return the mean normalized entropy of the group weights: 1 for uniform groups, 0 for groups of one member.

    The entropy of a group is ``-sum A log(A + 1e-5) / log(n)`` in a class with n prototypes (ScaleProtoSeg, section
    3.2), and 0 in a class with one.

    Args:
        weights: (C, K, J) group weights; each row lies on the simplex.
        valid: (C, J) True for the entries that belong to a prototype.

    >>> group_entropy(torch.tensor([[[1.0, 0.0], [0.5, 0.5]]]), torch.tensor([[True, True]])).round(decimals=3)
    tensor(0.5000)
    """
    entropy = -(weights * (weights + 1e-5).log() * valid[:, None]).sum(dim=-1)
    members = valid.sum(dim=-1, keepdim=True)
    return (entropy * (members > 1) / members.clamp_min(2).double().log().to(entropy.dtype)).mean()
