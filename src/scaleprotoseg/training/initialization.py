"""Initial pyramid and prototypes from training patches: discriminant directions, and clusters of each class's patches.

The directions are those of linear discriminant analysis (Fisher, 1936; with several classes: Rao, 1948), in which
differences between an image and its noisy and masked copies count as scatter within a class. Similarities thus depend
little on noise and on pixels far away from a patch.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn

from scaleprotoseg.data.dataset import SegmentationDataset, require_mask
from scaleprotoseg.data.labels import VOID
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.distributed import broadcast, gather, shard
from scaleprotoseg.inference.alterations import masking, noise_of
from scaleprotoseg.inference.evidence import choose_images
from scaleprotoseg.inference.part_options import PartOptions
from scaleprotoseg.inference.tiles import Alter, in_tiles
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.source import patch_box
from scaleprotoseg.progress import Progress
from scaleprotoseg.training.losses.segmentation import class_weights

IMAGES_PER_CLASS = 12
"""Largest number of images per class that are examined."""

CELLS = 60
"""Largest number of cells per class that are examined in an image."""

BALANCE = 0.5
"""Exponent by which rare classes count more, as in ``loss.class_balance``."""

NOISE_SCATTER = 2.0
"""Weight of the scatter between an image and its noisy copy."""

BETWEEN, WITHIN = 0.7, 0.3
"""Standard deviations within a class, before the sigmoid, of the channels that separate classes and of the others."""

RIDGE = 1e-3
"""Fraction of the mean scatter that is added in all directions."""


class Patches(NamedTuple):
    """Features of n cells, and their changes.

    Attributes:
        features: (n, channels) features that a branch of the pyramid reads, averaged over its kernel.
        labels: (n,) train ids.
        noise: (n, channels) changes of the features by noise.
        masked: (m, channels) changes of the features of other cells if everything outside a window is masked.
    """

    features: Tensor
    labels: Tensor
    noise: Tensor
    masked: Tensor


def initialize(
    network: Network, dataset: SegmentationDataset, noise: float, window: int, seed: int, progress: Progress = iter
) -> None:
    """Set pyramid and prototypes from training patches; the encoder must be trained.

    Args:
        network: Network with prototypes, in eval mode; changed in place.
        dataset: Labeled training images.
        noise: Standard deviation of the noise on the normalized image; 0 for none.
        window: Cells on each side of a cell that are not masked; 0 to mask nothing.
        seed: Seed of the random numbers.
        progress: Wraps the image indices to show progress.
    """
    chosen = sorted(choose_images(dataset, range(len(dataset.labels)), IMAGES_PER_CLASS, seed))
    own = [
        _patches(network, dataset, chosen[position], noise, window, seed) for position in progress(shard(len(chosen)))
    ]
    images = [patches for part in gather(own) for patches in part]
    layer, num_classes = network.prototype_head.prototypes, len(dataset.labels)
    latents = []
    for position, branch in enumerate(_branches(network)):
        patches = Patches(*map(torch.cat, zip(*(image[position] for image in images), strict=True)))
        directions, bias = _directions(patches, num_classes, branch.out_channels)
        _set_branch(branch, directions, bias)
        latents.append(F.linear(patches.features, directions, bias))
    if network.pyramid.fuse == "sum":
        latents = [torch.stack(latents).sum(dim=0)]
    for scale, values in enumerate(latents):
        for label in range(num_classes):
            rows = ((layer.prototype_class == label) & (layer.prototype_scale == scale)).nonzero().flatten()
            of_class = torch.sigmoid(values[patches.labels == label])
            if len(rows) and len(of_class):
                layer.vectors.data[rows] = _clusters(of_class, len(rows), seed).to(layer.vectors)
    broadcast(network.state_dict().values())


def _branches(network: Network) -> list[nn.Conv2d]:
    return [branch for branch in network.pyramid.branches if isinstance(branch, nn.Conv2d)]


@torch.no_grad()
def _patches(
    network: Network, dataset: SegmentationDataset, index: int, noise: float, window: int, seed: int
) -> list[Patches]:
    """Sample cells of an image, and compute what each branch reads at them, without and with noise and a mask."""
    sample = dataset[index]
    generator = np.random.default_rng([seed, index])

    def features(alter: Alter | None = None) -> list[Tensor]:
        maps = in_tiles(network, sample.pixels, lambda tile: network.features(tile)[0], alter=alter)
        return [_neighborhoods(maps, branch) for branch in _branches(network)]

    clean = features()
    grid = clean[0].shape[1], clean[0].shape[2]
    labels = resize_labels(torch.from_numpy(require_mask(dataset, sample))[None], grid)[0].flatten().long()
    cells = {
        label: torch.from_numpy(generator.permutation((labels == label).nonzero().flatten().numpy())[:CELLS])
        for label in torch.unique(labels).tolist()
        if label != VOID
    }
    chosen = torch.cat([torch.zeros(0, dtype=torch.long), *cells.values()])
    near, noisy, masked = chosen[:0], clean, clean
    if noise:
        noisy = features(noise_of(PartOptions(deviation=noise), index, network.std))
    if window and cells:
        center = int(cells[int(generator.choice(list(cells)))][0])
        box = patch_box(divmod(center, grid[1]), grid, sample.image.size, window)
        masked = features(masking(box, sample.image.size, "inside", network.mean.cpu()))
        near = _around(center, labels, grid)
    by_branch = zip(*([maps.flatten(1).T for maps in copy] for copy in (clean, noisy, masked)), strict=True)
    return [
        Patches(maps[chosen], labels[chosen], other[chosen] - maps[chosen], hidden[near] - maps[near])
        for maps, other, hidden in by_branch
    ]


def _around(center: int, labels: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the flat indices of a cell and those of its neighbors that have its label."""
    row, column = divmod(center, grid[1])
    rows, columns = (
        torch.arange(max(0, at - 1), min(size, at + 2)) for at, size in zip((row, column), grid, strict=True)
    )
    around = (rows[:, None] * grid[1] + columns).flatten()
    return around[labels[around] == labels[center]]


def _neighborhoods(features: Tensor, branch: nn.Conv2d) -> Tensor:
    """Average (channels, h, w) features over the cells that the kernel of a branch reads."""
    if branch.kernel_size == (1, 1):
        return features
    channels = len(features)
    kernel = torch.full((channels, 1, *branch.kernel_size), 1 / branch.kernel_size[0] ** 2)
    return F.conv2d(features[None], kernel, padding=branch.padding, dilation=branch.dilation, groups=channels)[0]


def _directions(patches: Patches, num_classes: int, channels: int) -> tuple[Tensor, Tensor]:
    """Find directions that separate the classes, and then directions in which the patches of a class differ.

    Returns:
        (channels, features) directions, and (channels,) biases that move the mean patch to 0.
    """
    features, labels = patches.features.double(), patches.labels
    counts = torch.bincount(labels, minlength=num_classes)
    weight = class_weights(counts, BALANCE).double()[labels]
    weight = weight / weight.sum()
    mean = weight @ features
    mass = torch.zeros(num_classes, dtype=weight.dtype).index_add_(0, labels, weight)
    centers = torch.zeros(num_classes, features.shape[1], dtype=features.dtype)
    centers.index_add_(0, labels, features * weight[:, None])
    centers = centers / mass.clamp_min(1e-12)[:, None]
    spread = features - centers[labels]
    within = (spread * weight[:, None]).T @ spread
    disturbed = within + NOISE_SCATTER * (patches.noise.double() * weight[:, None]).T @ patches.noise.double()
    if len(patches.masked):
        disturbed += patches.masked.double().T @ patches.masked.double() / len(patches.masked)
    disturbed += RIDGE * disturbed.diagonal().mean().clamp_min(1e-12) * torch.eye(len(disturbed), dtype=disturbed.dtype)
    values, vectors = torch.linalg.eigh(disturbed)
    whiten = vectors * values.rsqrt()
    between = ((centers - mean) * mass.sqrt()[:, None]) @ whiten
    _, strengths, directions = torch.linalg.svd(between, full_matrices=False)
    separating = min(num_classes - 1, channels // 2, int((strengths > 1e-6 * strengths[0]).sum()))
    others = torch.linalg.eigh(whiten.T @ within @ whiten).eigenvectors.flip(1)[:, : channels - separating]
    found = torch.cat([BETWEEN * directions[:separating], WITHIN * others.T]) @ whiten.T
    rows = torch.zeros(channels, features.shape[1], dtype=features.dtype)
    rows[: len(found)] = found
    return rows.float(), (-rows @ mean).float()


@torch.no_grad()
def _set_branch(branch: nn.Conv2d, directions: Tensor, bias: Tensor) -> None:
    """Make a branch the projection onto directions of the mean over the cells that its kernel reads."""
    taps = branch.kernel_size[0] * branch.kernel_size[1]
    branch.weight.copy_((directions / taps)[:, :, None, None].expand_as(branch.weight))
    assert branch.bias is not None
    branch.bias.copy_(bias)


def _clusters(latents: Tensor, count: int, seed: int) -> Tensor:
    """Return the (count, D) centers of clusters of (n, D) latent vectors; some are equal if there are too few."""
    different = np.unique(latents.numpy(), axis=0)
    if len(different) <= count:
        return torch.from_numpy(different[np.arange(count) % len(different)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # An empty cluster keeps its first center, which is a latent vector.
        centers, _ = kmeans2(latents.numpy(), count, minit="++", seed=seed)
    return torch.from_numpy(centers)
