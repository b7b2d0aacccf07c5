"""Tied prototypes: training patches that stay training patches while the pyramid learns."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.model.inference import in_tiles, require_prototypes
from scaleprotoseg.model.network import Network
from scaleprotoseg.training.projection import sources_by_picture


class TiedPrototypes(nn.Module):
    """Every prototype as its pyramid branch reads it from the features of its training patch.

    The features stand still, so 3 x 3 of them a prototype are all that a training needs to know of its patches.

    Args:
        network: Projected, in eval mode, without further input scales.
        dataset: The training pictures it was projected onto.

    Raises:
        UserError: If a prototype's picture is not among them.
    """

    def __init__(self, network: Network, dataset: SegmentationDataset) -> None:
        super().__init__()
        self._network = [network]  # In a list, for its parameters are not this module's.
        layer = require_prototypes(network).prototypes
        scales = layer.prototype_scale
        known = torch.tensor([source is not None for source in network.sources], device=scales.device)
        apart = network.pyramid.fuse == "keep"
        patches = _patches(network, dataset)
        self._rows = []
        for branch in range(len(network.pyramid.branches)):
            rows = (known & (scales == branch) if apart else known).nonzero().flatten()
            self._rows.append(rows)
            self.register_buffer(f"patches{branch}", patches[branch, rows], persistent=False)
        self.register_buffer("free", ~known[:, None], persistent=False)

    def forward(self) -> Tensor:
        """(P, D) prototypes as the pyramid reads their patches now; those without a patch as they are."""
        vectors = require_prototypes(self._network[0]).prototypes.vectors.detach()
        maps = torch.zeros_like(vectors)
        for branch, rows in enumerate(self._rows):
            convolution = _branches(self._network[0])[branch]
            assert convolution.bias is not None
            patches = self.get_buffer(f"patches{branch}")
            read = torch.einsum("pcij,dcij->pd", patches, convolution.weight) + convolution.bias
            maps = maps.index_add(0, rows, read)
        return torch.where(self.get_buffer("free"), vectors, torch.sigmoid(maps))

    @torch.no_grad()
    def settle(self) -> None:
        """Puts the network's prototypes where their patches lie now."""
        require_prototypes(self._network[0]).prototypes.vectors.copy_(self())


def _branches(network: Network) -> list[nn.Conv2d]:
    return [branch for branch in network.pyramid.branches if isinstance(branch, nn.Conv2d)]


@torch.no_grad()
def _patches(network: Network, dataset: SegmentationDataset) -> Tensor:
    """(branches, P, channels, 3, 3) features that each branch reads at each prototype's cell."""
    device = network.mean.device
    branches = _branches(network)
    patches = torch.zeros(len(branches), len(network.sources), network.encoder.channels, 3, 3, device=device)
    for sample, prototypes in sources_by_picture(network, dataset):
        features = in_tiles(network, sample.pixels, lambda tile: network.features(tile)[0])
        for place, branch in enumerate(branches):
            reach = int(branch.dilation[0])
            padded = F.pad(features, (reach, reach, reach, reach))
            for index, source in prototypes:
                row, column = source.cell
                window = padded[:, row : row + 2 * reach + 1 : reach, column : column + 2 * reach + 1 : reach]
                patches[place, index] = window.to(device)
    return patches
