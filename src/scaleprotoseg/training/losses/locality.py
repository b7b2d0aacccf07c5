"""The locality loss: the similarity of a patch must not depend on pixels far away from it."""

from __future__ import annotations

import torch
from torch import Tensor

from scaleprotoseg.training.losses.averaging import masked_mean
from scaleprotoseg.training.losses.class_cells import OwnPrototypes


class Locality:
    """Mean fraction of a similarity that is lost if everything outside a window is masked.

    It is measured for the prototypes of a cell's class, at the cell in the center of the window and at its neighbors of
    the same class. The similarity without the mask is held constant, so that the loss changes what is left, instead of
    making everything less similar. A gain counts as 0.

    Args:
        own: The prototypes of each class.
    """

    def __init__(self, own: OwnPrototypes) -> None:
        self.own = own

    def __call__(self, similarities: Tensor, masked: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            similarities: (B, P, h, w) similarities on the images.
            masked: (B, P, h, w) similarities on their masked copies.
            labels: (B, h, w) train ids.
            centers: (B,) flat index of the cell in the center of each window, -1 for an image without.

        Returns:
            Scalar in 0-1; 0 if there are no windows.
        """
        image, cell = cells_in_windows(centers, labels)
        label = labels.flatten(1)[image, cell].long()
        members = self.own.members[label].flatten(1)
        before, after = (
            maps.flatten(2)[image[:, None], members, cell[:, None]] for maps in (similarities.detach(), masked)
        )
        lost = (1 - after / before.clamp_min(1e-6)).clamp_min(0)
        return masked_mean(lost, self.own.exists[label].flatten(1))


def cells_in_windows(centers: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Find the cells in the center of each window, and their neighbors with the same label.

    Args:
        centers: (B,) flat index of the cell in the center of each window, -1 for an image without.
        labels: (B, h, w) train ids.

    Returns:
        (n,) index of the image and (n,) flat index of the cell.

    >>> cells_in_windows(torch.tensor([1, -1]), torch.tensor([[[0, 0, 1]], [[0, 0, 0]]]))
    (tensor([0, 0]), tensor([1, 0]))
    """
    height, width = labels.shape[1:]
    steps = torch.tensor([0, -1, 1], device=labels.device)
    rows = (centers[:, None, None] // width + steps[:, None]).expand(-1, 3, 3)
    columns = (centers[:, None, None] % width + steps).expand(-1, 3, 3)
    exists = (centers >= 0)[:, None, None] & (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    cells = (rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)).flatten(1)
    flat = labels.flatten(1)
    own = flat.gather(1, centers.clamp_min(0)[:, None])
    image, position = (exists.flatten(1) & (flat.gather(1, cells) == own)).nonzero(as_tuple=True)
    return image, cells[image, position]
