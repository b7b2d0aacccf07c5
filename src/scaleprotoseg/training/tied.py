"""Tied prototypes: prototypes that remain equal to their training patches while the pyramid is trained."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.inference.tiles import in_tiles
from scaleprotoseg.model.network import Network
from scaleprotoseg.training.projection import sources_by_image


class TiedPrototypes(nn.Module):
    """The latent vectors that the pyramid computes for the training patches of all prototypes.

    The encoder is frozen, so that the features that a branch reads at a patch are computed once per prototype.

    Args:
        network: Network after projection, in eval mode, without resized copies of the input.
        dataset: Training images it was projected onto.

    Raises:
        UserError: If the image of a prototype is not in the data set.
    """

    def __init__(self, network: Network, dataset: SegmentationDataset) -> None:
        super().__init__()
        self._network = [network]  # in a list, so that its parameters are not registered with this module
        layer = network.prototype_head.prototypes
        scales = layer.prototype_scale
        known = torch.tensor([source is not None for source in network.sources], device=scales.device)
        one_scale_per_branch = network.pyramid.fuse == "keep"
        patches = _patches(network, dataset)
        self._rows = []
        for branch in range(len(network.pyramid.branches)):
            rows = (known & (scales == branch) if one_scale_per_branch else known).nonzero().flatten()
            self._rows.append(rows)
            self.register_buffer(f"patches{branch}", patches[branch][rows], persistent=False)
        self.register_buffer("untied", ~known[:, None], persistent=False)

    def forward(self) -> Tensor:
        """Compute the (P, D) prototypes from their patches; those without a patch are unchanged."""
        vectors = self._network[0].prototype_head.prototypes.vectors.detach()
        maps = torch.zeros_like(vectors)
        for branch, rows in enumerate(self._rows):
            convolution = _branches(self._network[0])[branch]
            assert convolution.bias is not None
            patches = self.get_buffer(f"patches{branch}")
            values = torch.einsum("pcij,dcij->pd", patches, convolution.weight) + convolution.bias
            maps = maps.index_add(0, rows, values)
        return torch.where(self.get_buffer("untied"), vectors, torch.sigmoid(maps))

    @torch.no_grad()
    def settle(self) -> None:
        """Set the network's prototypes to the latent vectors of their patches."""
        self._network[0].prototype_head.prototypes.vectors.copy_(self())


def _branches(network: Network) -> list[nn.Conv2d]:
    return [branch for branch in network.pyramid.branches if isinstance(branch, nn.Conv2d)]


@torch.no_grad()
def _patches(network: Network, dataset: SegmentationDataset) -> list[Tensor]:
    """Compute for each branch the (P, channels, k, k) features that its kernel reads at the patches of prototypes."""
    branches = _branches(network)
    shape = len(network.sources), network.encoder.channels
    patches = [torch.zeros(*shape, *branch.kernel_size, device=network.mean.device) for branch in branches]
    for sample, prototypes in sources_by_image(network, dataset):
        features = in_tiles(network, sample.pixels, lambda tile: network.features(tile)[0])
        for branch, of_branch in zip(branches, patches, strict=True):
            (step, reach), side = (int(branch.dilation[0]), int(branch.padding[0])), branch.kernel_size[0]
            padded = F.pad(features, (reach, reach, reach, reach))
            for index, source in prototypes:
                row, column = source.cell
                window = padded[:, row : row + side * step : step, column : column + side * step : step]
                of_branch[index] = window.to(of_branch.device)
    return patches
