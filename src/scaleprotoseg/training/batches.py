"""Batches of training items, in an order that a resumed fit continues."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Sampler

from scaleprotoseg.data.transforms import TrainingStream
from scaleprotoseg.distributed import rank, world_size
from scaleprotoseg.training.feature_store import ViewCache


@dataclass(frozen=True)
class Batches:
    """The training items of a fit, and their division into batches.

    Attributes:
        stream: Augmented images, or cached features of them.
        size: Number of items per batch, over all processes.
        accumulate: Number of batches per optimizer step.
        workers: Number of processes that read items; 0 reads them in the training process.
    """

    stream: TrainingStream | ViewCache
    size: int
    accumulate: int
    workers: int

    def loader(self, steps: int) -> DataLoader[Any]:
        """Return a loader of the items that remain after a number of optimizer steps."""
        return DataLoader(
            self.stream,
            batch_size=self.size // world_size(),
            sampler=Remaining(len(self.stream), steps * self.accumulate * self.size, self.size),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )


class Remaining(Sampler[int]):
    """The indices of the remaining items of a stream; each process gets its shard of every batch.

    Its length is that of the whole stream, because Lightning counts the batches of a resumed epoch from its start.

    Args:
        length: Number of items in the stream.
        done: Number of items that were used before.
        batch: Number of items per batch, over all processes.
    """

    def __init__(self, length: int, done: int, batch: int) -> None:
        self.length = length
        self.done = done
        self.batch = batch

    def __len__(self) -> int:
        return self.length // world_size()

    def __iter__(self) -> Iterator[int]:
        own = self.batch // world_size()
        for start in range(self.done + rank() * own, self.length, self.batch):
            yield from range(start, start + own)
