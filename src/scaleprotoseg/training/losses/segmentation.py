"""Losses of the class scores: cross-entropy with the mask, and distillation from a teacher."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scaleprotoseg.data.labels import VOID
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.model.upsampling import upsample, upsample_by_products
from scaleprotoseg.training.config import LossConfig
from scaleprotoseg.training.losses.averaging import mean_count


def cross_entropy(logits: Tensor, mask: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy of the labeled pixels; 0 if all pixels are void.

    Args:
        logits: (B, C, h, w) class scores.
        mask: (B, H, W) train ids. If its size differs from that of the logits, it is resized to (h, w) by nearest
            neighbor.
        class_weights: (C,) weight of the pixels of each class; None weights all classes equally.

    >>> cross_entropy(torch.zeros(1, 4, 1, 2), torch.tensor([[[3, VOID]]]))  # log(4)
    tensor(1.3863)
    """
    if mask.shape[-2:] != logits.shape[-2:]:
        mask = resize_labels(mask, logits.shape[-2:])
    mask = mask.long()
    total = F.cross_entropy(logits, mask, weight=class_weights, ignore_index=VOID, reduction="sum")
    pixels = torch.bincount(mask.flatten(), minlength=VOID + 1)[: logits.shape[1]].to(total.dtype)
    return total / mean_count(pixels.sum() if class_weights is None else pixels @ class_weights)


class PixelLoss(nn.Module):
    """The :func:`cross_entropy` at the resolution and with the class weights of a recipe.

    Args:
        config: Resolution at which the loss is computed.
        class_weights: (C,) weight of the pixels of each class; None weights all classes equally.
    """

    class_weights: Tensor | None

    def __init__(self, config: LossConfig, class_weights: Tensor | None) -> None:
        super().__init__()
        self.upsamples = config.supervision == "pixels"
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Compute the loss of (B, C, h, w) logits for (B, H, W) train ids."""
        if self.upsamples:
            logits = upsample_by_products(logits, masks.shape[-2:])
        return cross_entropy(logits, masks, self.class_weights)


def class_weights(pixels: Tensor, balance: float) -> Tensor:
    """Return class weights that raise rare classes: frequency to the power of ``-balance``, normalized.

    Args:
        pixels: (C,) number of labeled pixels per class.
        balance: Exponent in 0-1: 0 weights all pixels equally, 1 weights all classes equally.

    Returns:
        (C,) weights with a mean of 1 over the pixels; 0 for a class without pixels.

    >>> class_weights(torch.tensor([30, 10, 0]), balance=1.0)
    tensor([0.6667, 2.0000, 0.0000])
    """
    frequency = pixels.double() / pixels.sum()
    weights = torch.where(pixels > 0, frequency.clamp_min(1e-12) ** -balance, 0.0)
    return (weights / (weights * frequency).sum()).float()


def distillation(logits: Tensor, teacher_logits: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return the mean KL(teacher || student) over all cells, labeled or void (Hinton et al., 2015, temperature 1).

    Args:
        logits: (B, C, h, w) class scores of the student.
        teacher_logits: (B, C, h', w') class scores of the teacher; upsampled to (h, w).
        class_weights: (C,) weight of the cells that the teacher assigns to each class; None weights all equally.

    >>> distillation(torch.zeros(1, 2, 1, 1), torch.tensor([3.0, 1.0]).log().view(1, 2, 1, 1))
    tensor(0.1308)
    """
    teacher_logits = upsample(teacher_logits.float(), logits.shape[-2:])
    student, teacher = logits.float().log_softmax(dim=1), teacher_logits.log_softmax(dim=1)
    divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)
    if class_weights is None:
        return divergence.mean()
    weights = class_weights[teacher.argmax(dim=1)]
    return (divergence * weights).sum() / mean_count(weights.sum())
