"""Data with parts, networks whose reach is known, and two processes in one."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from scaleprotoseg import distributed
from scaleprotoseg.data.dataset import PartTable, Sample, SegmentationDataset
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, InputConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.groups import GroupHead
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.pyramid import Pyramid
from scaleprotoseg.model.units import Units
from tests.toys import LABELS, Toys

PARTS = PartTable(names=("top", "bottom", "end"), classes=("disc", "disc", "bar"))


class PartToys(Toys):
    """Discs have a top and a bottom, bars an end, ground has no parts; every third picture has no part mask."""

    parts = PARTS

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        if index % 3 == 2:
            return sample
        y = np.arange(len(sample.mask))[:, None]
        rows = np.nonzero((sample.mask == 1).any(axis=1))[0]
        middle = rows.mean() if len(rows) else 0
        parts = np.select(
            [(sample.mask == 1) & (y < middle), sample.mask == 1, (sample.mask == 2) & (y < 16)], [1, 2, 3]
        )
        return replace(sample, parts=parts.astype(np.uint8))


class First(SegmentationDataset):
    """The first pictures of another data set."""

    def __init__(self, base: SegmentationDataset, count: int) -> None:
        self.name, self.split, self.labels, self.parts = base.name, base.split, base.labels, base.parts
        self.base, self.count = base, count

    @property
    def sample_names(self) -> list[str]:
        return self.base.sample_names[: self.count]

    def __getitem__(self, index: int) -> Sample:
        return self.base[index]


class Given(SegmentationDataset):
    """Samples as they are."""

    def __init__(self, samples: list[Sample], parts: PartTable | None = PARTS) -> None:
        self.name, self.split, self.labels, self.parts, self.samples = "given", "val", LABELS, parts, samples

    @property
    def sample_names(self) -> list[str]:
        return [sample.name for sample in self.samples]

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def sample_of(mask: np.ndarray, **changes: Any) -> Sample:
    return Sample("drawn", Image.new("RGB", mask.shape[::-1]), mask, **changes)


def prototypes_of(classes: list[int], scales: list[int] | None = None) -> Units:
    count = len(classes)
    return Units("prototypes", torch.arange(count), torch.tensor(classes), torch.tensor(scales or [0] * count))


def groups_of(classes: list[int]) -> Units:
    return Units("groups", torch.arange(len(classes)), torch.tensor(classes), None)


def grouped_network(**changes: Any) -> Network:
    """Two groups a class, of which some prototypes are in none."""
    network = patch_network(Patches(), 6, **changes)
    head = GroupHead.over(network.head, 2)
    with torch.no_grad():
        head.weights[:, :, 1] = 0
        head.classifier.normal_()
    network.replace_head(head, network.sources)
    return network


def patch_network(encoder: nn.Module, channels: int, dilations: tuple[int, ...] = (1, 2), **changes: Any) -> Network:
    """A network on another encoder."""
    torch.manual_seed(0)
    config = NetworkConfig(
        EncoderConfig("unet16"), PyramidConfig(dilations, channels=8), HeadConfig(prototypes=2), InputConfig(**changes)
    )
    network = Network(config, LABELS)
    network.encoder, network.pyramid = encoder, Pyramid(channels, config.pyramid)
    for branch in network.pyramid.branches:
        nn.init.normal_(branch.weight, std=0.3)
    return network.eval()


class Patches(nn.Module):
    """Reads the pixels under a cell and no others."""

    stride = 8

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Conv2d(3, 6, 8, stride=8)
        nn.init.normal_(self.read.weight, std=0.05, generator=torch.Generator().manual_seed(0))

    def forward(self, images):
        return self.read(images)


class Everything(Patches):
    """Reads at every cell the mean of all cells as well, and more of it."""

    def forward(self, images):
        cells = self.read(images)
        return cells + 9 * cells.mean(dim=(2, 3), keepdim=True)


class _Group:
    """What ``torch.distributed`` is to processes, for threads."""

    def __init__(self, size: int) -> None:
        self.size, self.place, self.values = size, threading.local(), [None] * size
        self.barrier = threading.Barrier(size, timeout=60)

    def is_initialized(self) -> bool:
        return True

    def get_world_size(self) -> int:
        return self.size

    def get_rank(self) -> int:
        return self.place.rank

    def all_gather_object(self, values: list[Any], value: Any) -> None:
        self.values[self.place.rank] = value
        self.barrier.wait()
        values[:] = copy.deepcopy(self.values)
        self.barrier.wait()


def in_two(monkeypatch, work: Callable[[], Any]) -> list[Any]:
    """What each of two processes gets that share their work."""
    group, results = _Group(2), [None, None]

    def run(rank: int) -> None:
        group.place.rank = rank
        results[rank] = work()

    with monkeypatch.context() as patch:
        patch.setattr(distributed, "dist", group)
        threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return results
