"""The floating-point precision of a training, chosen by a probe of the very network."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from scaleprotoseg.data.labels import VOID
from scaleprotoseg.distributed import broadcast
from scaleprotoseg.model.network import Network
from scaleprotoseg.training.losses.segmentation import cross_entropy

log = logging.getLogger(__name__)

Precision = Literal["32-true", "bf16-mixed"]

AGREEMENT = 0.95
"""Smallest cosine between the gradients in bfloat16 and in float32 for which bfloat16 is used.

Measured on CamVid images: 0.9999 for resnet18 and regnetx_002; 0.66 for mobilenetv2_100 (median over its layers), whose
depthwise convolutions pass on channels with means of up to 20 standard deviations. Of these, the 8 bits of bfloat16
leave little after batch normalization. On CPUs with native bfloat16, its loss became NaN within 100 steps.
"""


def choose_precision(
    wanted: Literal["auto", "32", "bf16"],
    network: Network,
    free_norm: bool,
    first_batch: Callable[[], Sequence[Tensor]],
) -> Precision:
    """Choose the precision of a fit.

    ``auto`` is float32 where bfloat16 is emulated: on CPUs without AVX-512. Elsewhere, the gradients of one batch are
    computed in both precisions, and bfloat16 is used if they are finite and close.

    Args:
        wanted: Value of ``precision`` in the recipe.
        network: The network at the beginning of the fit; not changed.
        free_norm: True if the normalization layers of the encoder use the statistics of the batch.
        first_batch: Returns (B, channels, H, W) images with values in 0-255, and (B, H, W) train ids; called only if
            they are needed.
    """
    if wanted != "auto":
        return "bf16-mixed" if wanted == "bf16" else "32-true"
    if not (torch.cuda.is_available() or "AVX512" in torch.backends.cpu.get_cpu_capability()):
        return "32-true"
    images, masks = (tensor.to(network.mean.device) for tensor in first_batch()[:2])
    images = images.to(memory_format=torch.channels_last).float() / 255
    close = torch.tensor(gradient_agreement(network, free_norm, images, masks) >= AGREEMENT)
    broadcast([close])
    if not close:
        log.info("bfloat16 changes the gradients of this network too much; training in float32")
    return "bf16-mixed" if close else "32-true"


def gradient_agreement(network: Network, free_norm: bool, images: Tensor, masks: Tensor) -> float:
    """Return the cosine between the gradients of one batch in bfloat16 and in float32; -1 if one is not finite.

    Args:
        network: The network, whose trained parameters require gradients; not changed.
        free_norm: True if the normalization layers of the encoder use the statistics of the batch.
        images: (B, channels, H, W) in 0-1.
        masks: (B, H, W) train ids.
    """
    if bool((masks == VOID).all()):
        masks = torch.zeros_like(masks)
    network = copy.deepcopy(network)
    network.encoder.train(free_norm)
    half, single = (_gradient(network, images, masks, bf16) for bf16 in (True, False))
    if not (half.isfinite().all() and single.isfinite().all()):
        return -1.0
    return float(torch.nn.functional.cosine_similarity(half, single, dim=0))


def _gradient(network: Network, images: Tensor, masks: Tensor, bf16: bool) -> Tensor:
    """Return the gradient of the cross-entropy with respect to all trained parameters, as one vector."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        logits = network(images).logits
    loss = cross_entropy(logits.float(), masks)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.cat([gradient.float().flatten() for gradient in gradients if gradient is not None])
