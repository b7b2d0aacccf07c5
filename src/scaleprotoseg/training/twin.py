"""The twin of a picture: the same with noise, and perhaps without its surroundings."""

from __future__ import annotations

import torch
from torch import Tensor

from scaleprotoseg.data.labels import VOID
from scaleprotoseg.model.network import Network


def twin_of(
    network: Network, images: Tensor, masks: Tensor, noise: float, window: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Twins of pictures, of which only what does not depend on noise and surroundings is the same.

    Args:
        network: Says what is normal.
        images: (B, channels, H, W) in 0-1.
        masks: (B, H, W) train ids.
        noise: Deviation on the normalised picture.
        window: Share of height and of width that a twin shows, somewhere in the picture; all else is the mean colour,
            and void in its mask. 1 shows everything.
        generator: Of all random numbers, on the CPU.

    Returns:
        The twins and their masks, of the same shapes.
    """
    twins = images + noise * network.std * torch.randn(images.shape, generator=generator).to(images.device)
    if window == 1:
        return twins, masks
    height, width = masks.shape[-2:]
    rows, columns = max(1, round(window * height)), max(1, round(window * width))
    tops = torch.randint(height - rows + 1, (len(masks), 1), generator=generator).to(masks.device)
    lefts = torch.randint(width - columns + 1, (len(masks), 1), generator=generator).to(masks.device)
    y, x = torch.arange(height, device=masks.device), torch.arange(width, device=masks.device)
    inside = ((y >= tops) & (y < tops + rows))[:, :, None] & ((x >= lefts) & (x < lefts + columns))[:, None]
    return torch.where(inside[:, None], twins, network.mean), masks.masked_fill(~inside, VOID)
