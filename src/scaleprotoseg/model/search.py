"""Streaming search for the training patches nearest to each prototype, in one pass over the pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from scaleprotoseg.data.dataset import SegmentationDataset, require_mask
from scaleprotoseg.data.labels import VOID
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.distributed import gather, share
from scaleprotoseg.model.inference import in_tiles, require_prototypes
from scaleprotoseg.model.network import Network


@dataclass
class Nearest:
    """The k nearest patches of P prototypes, nearest first.

    Attributes:
        distance: (P, k) squared distances, infinite where fewer than k patches exist.
        image: (P, k) index of the picture in the data set, -1 where there is none.
        cell: (P, k) flat index of the cell on that picture's feature map.
        grid: (P, k, 2) height and width of that feature map.
        label: (P, k) class of the patch.
        latent: (P, k, D) latent vectors at the prototypes' scales.
    """

    distance: Tensor
    image: Tensor
    cell: Tensor
    grid: Tensor
    label: Tensor
    latent: Tensor

    def to(self, device: torch.device) -> Nearest:
        """The same on another device."""
        return Nearest(**{name: tensor.to(device) for name, tensor in vars(self).items()})


@torch.inference_mode()
def nearest_patches(
    network: Network,
    dataset: SegmentationDataset,
    k: int = 1,
    own_class: bool = True,
    once_a_picture: bool = False,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Nearest:
    """Finds every prototype's k nearest patches among all labelled cells of a data set.

    Every picture is run by itself and at full size, so nothing depends on how pictures are batched. Equal
    distances go to the picture that comes first, then to the cell that comes first. Several processes share the
    pictures; every one of them gets the result of all.

    Args:
        network: With prototypes, in eval mode.
        dataset: Labelled pictures, un-augmented.
        k: Patches per prototype.
        own_class: Only cells labelled with the prototype's class count; else all but void.
        once_a_picture: Only the nearest patch of each picture counts, so that the k patches show k pictures.
        progress: Wraps the picture indices to show progress.

    Raises:
        UserError: If the network has no prototypes, or a picture no mask.
    """
    prototypes = require_prototypes(network).prototypes
    device, count, width = network.mean.device, len(prototypes), prototypes.vectors.shape[1]
    empty = torch.full((count, k), -1, device=device)
    best = Nearest(
        torch.full((count, k), torch.inf, device=device),
        empty, empty.clone(), empty[..., None].repeat(1, 1, 2), empty.clone(),
        torch.zeros(count, k, width, device=device),
    )  # fmt: skip
    for index in progress(share(len(dataset))):
        _update(best, _patches(network, dataset, index, 1 if once_a_picture else k, own_class))
    first, *others = (part.to(device) for part in gather(best.to(torch.device("cpu"))))
    for part in others:
        _update(first, part)
    return first


def _patches(network: Network, dataset: SegmentationDataset, index: int, k: int, own_class: bool) -> Nearest:
    """The k best patches of one picture, on its own."""
    prototypes = require_prototypes(network).prototypes
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
    vectors = per_scale[prototypes.prototype_scale[:, None], :, cells]
    return Nearest(
        ordered,
        torch.where(found, index, -1),
        torch.where(found, cells, -1),
        torch.tensor(grid, device=device).expand(*cells.shape, 2),
        torch.where(found, labels[cells], -1),
        vectors,
    )


def _update(best: Nearest, new: Nearest) -> None:
    """Merges the patches of a later picture into the best so far; the earlier one wins a tie."""
    k = best.distance.shape[1]
    order = torch.cat([best.distance, new.distance], dim=1).sort(dim=1, stable=True).indices[:, :k]
    for name in ("distance", "image", "cell", "grid", "label", "latent"):
        both = torch.cat([getattr(best, name), getattr(new, name)], dim=1)
        index = order if both.ndim == 2 else order[..., None].expand(-1, -1, both.shape[2])
        setattr(best, name, both.gather(1, index))
