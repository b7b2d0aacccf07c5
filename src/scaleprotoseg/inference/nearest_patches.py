"""Streaming search for the patches nearest to each prototype, in one pass over the images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scaleprotoseg.data.dataset import SegmentationDataset, require_mask
from scaleprotoseg.data.labels import VOID
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.distributed import gather, shard
from scaleprotoseg.inference.tiles import in_tiles
from scaleprotoseg.model.network import Network
from scaleprotoseg.progress import Progress


@dataclass
class Nearest:
    """The k nearest patches of P prototypes, nearest first.

    Attributes:
        distance: (P, k) squared distances, infinite where fewer than k patches exist.
        image: (P, k) index of the image in the data set, -1 where there is no patch.
        cell: (P, k) flat index of the cell on that image's feature map, -1 where there is no patch.
        grid: (P, k, 2) height and width of that feature map.
        label: (P, k) class of the patch, -1 where there is no patch.
        latent: (P, k, D) latent vectors at the prototypes' scales.
    """

    distance: Tensor
    image: Tensor
    cell: Tensor
    grid: Tensor
    label: Tensor
    latent: Tensor

    @classmethod
    def empty(cls, network: Network, k: int) -> Nearest:
        """Return k missing patches for each prototype of a network, on the network's device."""
        prototypes = network.prototype_head.prototypes
        device, count, channels = network.mean.device, len(prototypes), prototypes.vectors.shape[1]
        return cls(
            distance=torch.full((count, k), torch.inf, device=device),
            image=torch.full((count, k), -1, device=device),
            cell=torch.full((count, k), -1, device=device),
            grid=torch.full((count, k, 2), -1, device=device),
            label=torch.full((count, k), -1, device=device),
            latent=torch.zeros(count, k, channels, device=device),
        )

    def to(self, device: torch.device) -> Nearest:
        """Return the same patches on another device."""
        return Nearest(**{name: tensor.to(device) for name, tensor in vars(self).items()})


@torch.inference_mode()
def nearest_patches(
    network: Network,
    dataset: SegmentationDataset,
    k: int = 1,
    own_class: bool = True,
    one_per_image: bool = False,
    progress: Progress = iter,
) -> Nearest:
    """Find the k nearest patches of every prototype among all labeled cells of a data set.

    Every image is processed on its own and at full size, so the result does not depend on batches. Among equal
    distances, the earlier image and then the earlier cell is nearer. Several processes share the images; each of them
    gets the whole result.

    Args:
        network: Network with prototypes, in eval mode.
        dataset: Labeled images without augmentation.
        k: Number of patches per prototype.
        own_class: True to search only cells labeled with the prototype's class; False to search all except void.
        one_per_image: True to count only the nearest patch of each image, so that the k patches are from k images.
        progress: Wraps the image indices to show progress.

    Raises:
        UserError: If the network has no prototypes, or an image has no mask.
    """
    nearest = Nearest.empty(network, k)
    for index in progress(shard(len(dataset))):
        _merge(nearest, _patches_of_image(network, dataset, index, 1 if one_per_image else k, own_class))
    first, *others = (part.to(network.mean.device) for part in gather(nearest.to(torch.device("cpu"))))
    for part in others:
        _merge(first, part)
    return first


def _patches_of_image(network: Network, dataset: SegmentationDataset, index: int, k: int, own_class: bool) -> Nearest:
    """Find the k nearest patches of every prototype in one image; fewer if the image has fewer cells."""
    prototypes = network.prototype_head.prototypes
    sample = dataset[index]
    mask = torch.from_numpy(require_mask(dataset, sample))
    device = network.mean.device
    latent = torch.sigmoid(in_tiles(network, sample.pixels, network.pyramid_map)[None].to(device))
    distances = prototypes(latent)[0].flatten(1)
    grid = latent.shape[-2:]
    labels = resize_labels(mask[None], grid).flatten().long().to(device)
    allowed = labels == prototypes.prototype_class[:, None] if own_class else (labels != VOID)[None]
    ordered, cells = distances.masked_fill(~allowed, torch.inf).sort(dim=1, stable=True)
    ordered, cells = ordered[:, :k], cells[:, :k]
    found = ordered.isfinite()
    per_scale = latent[0].reshape(prototypes.num_scales, -1, grid[0] * grid[1])
    return Nearest(
        distance=ordered,
        image=torch.where(found, index, -1),
        cell=torch.where(found, cells, -1),
        grid=torch.tensor(grid, device=device).expand(*cells.shape, 2),
        label=torch.where(found, labels[cells], -1),
        latent=per_scale[prototypes.prototype_scale[:, None], :, cells],
    )


def _merge(nearest: Nearest, later: Nearest) -> None:
    """Merge the patches of later images into the nearest ones so far; the earlier one wins a tie."""
    k = nearest.distance.shape[1]
    order = torch.cat([nearest.distance, later.distance], dim=1).sort(dim=1, stable=True).indices[:, :k]
    for name, tensor in vars(later).items():
        both = torch.cat([getattr(nearest, name), tensor], dim=1)
        index = order if both.ndim == 2 else order[..., None].expand(-1, -1, both.shape[2])
        setattr(nearest, name, both.gather(1, index))
