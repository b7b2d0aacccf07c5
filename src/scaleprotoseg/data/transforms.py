"""Loading and augmentation of training images; evaluation does not use this module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

from scaleprotoseg.data.dataset import SegmentationDataset, require_mask
from scaleprotoseg.data.labels import VOID
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.data.part_masks import part_mask
from scaleprotoseg.data.pixels import to_channels

CACHE_BYTES = 1 << 30
"""Size in bytes of the cache of resized images in memory, so that most images are decoded once per phase."""

Size = Callable[[int, int], tuple[int, int]]
"""Function from width and height of an image to its (height, width) in training, before augmentation."""


class RandomScale(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Resize an image and its (N, H, W) masks by the same random factor.

    Args:
        scale: Smallest and largest factor, between which the factor is uniformly distributed.
    """

    def __init__(self, scale: tuple[float, float]) -> None:
        super().__init__()
        self.scale = scale

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the new size."""
        height, width = v2.query_size(flat_inputs)
        factor = float(torch.empty(1).uniform_(*self.scale))
        return {"size": [max(1, round(height * factor)), max(1, round(width * factor))]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Resize an image (bilinear with antialiasing) or masks (nearest neighbor)."""
        if isinstance(inpt, tv_tensors.Mask):
            return tv_tensors.wrap(resize_labels(inpt, params["size"]), like=inpt)
        return self._call_kernel(TF.resize, inpt, **params, antialias=True)


def augmentation(crop: tuple[int, int], scale: tuple[float, float], mean: tuple[float, ...]) -> v2.Compose:
    """Compose random scaling, cropping and horizontal flipping (paper, section 4.1).

    Args:
        crop: (height, width) after cropping; smaller images are padded with the mean, and their masks with void.
        scale: Smallest and largest random factor.
        mean: Mean of each channel, in 0-1.
    """
    fill = {tv_tensors.Image: [round(255 * value) for value in mean], tv_tensors.Mask: VOID}
    return v2.Compose(
        [
            RandomScale(scale),
            v2.RandomCrop(list(crop), pad_if_needed=True, fill=fill),
            v2.RandomHorizontalFlip(),
        ]
    )


class Epochs:
    """Endless sequence of passes over some items, each pass in its own random order.

    Args:
        count: Number of items.
        seed: Seed of the random orders.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self.seed = seed
        self._epoch = -1
        self._order: np.ndarray = np.empty(0)

    def __getitem__(self, index: int) -> int:
        """Return the item at a position in the sequence."""
        epoch, position = divmod(index, self.count)
        if self._epoch != epoch:
            self._epoch, self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.count)
        return int(self._order[position])


class TrainingStream(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Reproducible stream of augmented training images, which passes over the data as often as necessary.

    Item ``i`` depends only on ``i`` and the seed: every pass over the data has its own random order, and every item its
    own random numbers. A training can therefore be resumed at any step, with any number of workers, without changing
    its result.

    Args:
        dataset: Labeled images.
        channels: Number of input channels of the network.
        size: Function that gives the size of an image before augmentation.
        transform: Augmentation that draws its random numbers from torch's generator.
        seed: Seed of the orders and the augmentation.
        length: Number of items in the stream.
        radius: Largest distance between a keypoint and the pixels of its part, in pixels of the original image; None =
            items without parts.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        channels: int,
        size: Size,
        transform: v2.Transform,
        seed: int,
        length: int,
        radius: float | None = None,
    ) -> None:
        self.dataset = dataset
        self.channels = channels
        self.size = size
        self.transform = transform
        self.seed = seed
        self.length = length
        self.radius = radius
        self._cache: dict[int, tuple[Tensor, Tensor]] = {}
        self._cached_bytes = 0
        self._epochs = Epochs(len(dataset), seed)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return one augmented item.

        Returns:
            (channels, h, w) image with values in 0-255, uint8 or, for bands, float32; (h, w) uint8 train ids; and
            (h, w) uint8 part ids, 0 = no part, or an empty tensor if the radius is None.
        """
        image, masks = self._resized(self._epochs[index])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.default_rng([self.seed, index, 1]).integers(2**62)))
            image, masks = self.transform(tv_tensors.Image(image), tv_tensors.Mask(masks))
        mask, *parts = masks.as_subclass(Tensor)
        none = torch.zeros(0, dtype=torch.uint8)
        return image.as_subclass(Tensor), mask, parts[0].where(mask != VOID, 0) if parts else none

    def _resized(self, index: int) -> tuple[Tensor, Tensor]:
        if index in self._cache:
            return self._cache[index]
        sample = self.dataset[index]
        whole = [require_mask(self.dataset, sample)]
        if self.radius is not None:
            whole.append(part_mask(sample, self.radius))
        size = list(self.size(sample.image.width, sample.image.height))
        pixels = to_channels(sample.pixels, self.channels, f"{self.dataset.name}: {sample.name}")
        image = TF.resize(pixels, size, antialias=True)
        masks = resize_labels(torch.from_numpy(np.stack(whole)), size)
        worker = get_worker_info()
        if self._cached_bytes < CACHE_BYTES / (worker.num_workers if worker else 1):
            self._cache[index] = image, masks
            self._cached_bytes += image.nbytes + masks.nbytes
        return image, masks
