"""The pointing loss: makes prototypes respond to object parts that are assigned to them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scaleprotoseg.training.losses.averaging import masked_mean
from scaleprotoseg.training.losses.class_cells import OwnPrototypes, Segments
from scaleprotoseg.training.losses.correlation import MIN_CELLS, standardize


class Pointing:
    """Mean of 1 - correlation between a prototype's similarity and its object part.

    Within one class in one image that shows the part, the correlation over cells is that of the prototype's similarity
    with the fraction of the cell that the part covers. As in
    :class:`~scaleprotoseg.training.losses.noise_consistency.NoiseConsistency`, values that hardly vary hardly
    correlate.

    Args:
        own: The prototypes of each class.
        part_of: (P,) part id of each prototype, from 1; 0 for prototypes without a part.
    """

    def __init__(self, own: OwnPrototypes, part_of: Tensor) -> None:
        self.own = own
        self.part_of = part_of

    def __call__(self, similarities: Tensor, parts: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            similarities: (B, P, h, w) similarities on the images.
            parts: (B, H, W) part ids, 0 for pixels of no part.
            labels: (B, h, w) train ids.

        Returns:
            Scalar in 0-2; 0 if no part is shown.
        """
        segments = Segments(self.own, labels)
        fractions = part_fractions(parts, int(self.part_of.max()), similarities.shape[-2:])
        covered = segments.own_values(fractions[:, self.part_of])
        products = standardize(segments, segments.own_values(similarities)) * standardize(segments, covered)
        shown = segments.mask(self.own.exists, MIN_CELLS) & (segments.sum(covered) > 0)
        return masked_mean(1 - segments.sum(products), shown)


def part_fractions(parts: Tensor, count: int, size: Sequence[int]) -> Tensor:
    """Return the fraction of each cell that each part covers.

    Cells may differ in size by a row or column of pixels; fractions are relative to the mean number of pixels of a
    cell.

    Args:
        parts: (B, H, W) part ids, 0 for pixels of no part.
        count: Number T of parts to measure, those with the ids 1 to T.
        size: (h, w) of the grid of cells.

    Returns:
        (B, T + 1, h, w) fractions by part id; 0 for the id 0.

    >>> part_fractions(torch.tensor([[[0, 1, 1, 1], [0, 0, 1, 1]]]), 1, (1, 2))[0, 1]
    tensor([[0.2500, 1.0000]])
    """
    rows, columns = (
        torch.arange(old, device=parts.device) * new // old for old, new in zip(parts.shape[1:], size, strict=True)
    )
    image = torch.arange(len(parts), device=parts.device)[:, None, None]
    index = ((image * (count + 1) + parts) * size[0] + rows[:, None]) * size[1] + columns
    measured = index[(parts > 0) & (parts <= count)]
    pixels = torch.bincount(measured, minlength=len(parts) * (count + 1) * size[0] * size[1])
    area = parts.shape[1] * parts.shape[2] / (size[0] * size[1])
    return pixels.view(len(parts), count + 1, *size) / area
