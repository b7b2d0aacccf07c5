"""Two threads that behave like two processes of a training."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest

from scaleprotoseg import distributed


class ThreadGroup:
    """The part of ``torch.distributed`` that evaluation uses, for threads in place of processes."""

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


def in_two(monkeypatch: pytest.MonkeyPatch, work: Callable[[], Any]) -> list[Any]:
    """Return the result of each of two processes that share the work."""
    group, results = ThreadGroup(2), [None, None]

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
