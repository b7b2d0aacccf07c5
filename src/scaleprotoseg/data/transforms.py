"""What happens to a picture on its way into training; evaluation uses nothing from here."""

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

from scaleprotoseg.data.bands import to_channels
from scaleprotoseg.data.dataset import SegmentationDataset, require_mask
from scaleprotoseg.data.labels import VOID
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.data.part_masks import part_mask

CACHE_BYTES = 1 << 30
"""Resized pictures are kept in memory up to this many bytes in a phase, so that most are decoded once."""

Size = Callable[[int, int], tuple[int, int]]
"""Width and height of a picture to the (height, width) it is trained at."""


class RandomScale(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Resizes a picture and its (n, H, W) masks together by one random factor.

    Args:
        scale: Smallest and largest factor; drawn uniformly.
    """

    def __init__(self, scale: tuple[float, float]) -> None:
        super().__init__()
        self.scale = scale

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draws the new size."""
        height, width = v2.query_size(flat_inputs)
        factor = float(torch.empty(1).uniform_(*self.scale))
        return {"size": [max(1, round(height * factor)), max(1, round(width * factor))]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Resizes picture or masks: bilinear with antialiasing, or nearest."""
        if isinstance(inpt, tv_tensors.Mask):
            return tv_tensors.wrap(resize_labels(inpt, params["size"]), like=inpt)
        return self._call_kernel(TF.resize, inpt, **params, antialias=True)


def augmentation(crop: tuple[int, int], scale: tuple[float, float], mean: tuple[float, ...]) -> v2.Compose:
    """Random scale, crop and horizontal flip (paper, section 4.1).

    Args:
        crop: (height, width) after cropping; smaller pictures are padded with the mean, their masks with void.
        scale: Smallest and largest random factor.
        mean: Channel means in 0-1.
    """
    fill = {tv_tensors.Image: [round(255 * value) for value in mean], tv_tensors.Mask: VOID}
    return v2.Compose(
        [
            RandomScale(scale),
            v2.RandomCrop(list(crop), pad_if_needed=True, fill=fill),
            v2.RandomHorizontalFlip(),
        ]
    )


class Laps:
    """Endless laps over some items, each in an order of its own.

    Args:
        count: Items in a lap.
        seed: Of the orders.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self.seed = seed
        self._lap = -1
        self._order: np.ndarray = np.empty(0)

    def __getitem__(self, index: int) -> int:
        """The item at a place in the laps."""
        lap, position = divmod(index, self.count)
        if self._lap != lap:
            self._lap, self._order = lap, np.random.default_rng([self.seed, lap]).permutation(self.count)
        return int(self._order[position])


class TrainingStream(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """An endless, reproducible stream of augmented pictures.

    Item ``i`` depends on the seed and on ``i`` alone: every pass over the data has its own order, and every item its
    own random numbers. So a training can be taken up at any step, with any number of workers, unchanged.

    Args:
        dataset: Labelled pictures.
        channels: Input channels of the network.
        size: The size pictures have before augmentation.
        transform: The augmentation, random through torch's generator.
        seed: Any integer.
        length: Items in the stream.
        radius: How far a part reaches around its keypoint, in pixels of the whole picture; None = items have no parts.
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
        self._laps = Laps(len(dataset), seed)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """One augmented item.

        Returns:
            (channels, h, w) picture with values in 0-255, uint8 (of bands float32), (h, w) uint8 train ids, and (h, w)
            uint8 part ids, 0 where there is none; of length 0 if they are not wanted.
        """
        image, masks = self._resized(self._laps[index])
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
