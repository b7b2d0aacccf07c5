"""What stands for the objects in a file of ``torch.save``; none of it does anything."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Name:
    """A class or function that the pickle names; it is never looked up."""

    module: str
    name: str


@dataclass(eq=False, repr=False)
class SavedModule:
    """Stands in for a ``torch.nn.Module``.

    Attributes:
        kind: The class the pickle names.
        state: Its attributes; empty until the pickle gives them.
    """

    kind: Name
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False, repr=False)
class Storage:
    """Numbers that lie outside the pickle.

    Attributes:
        key: Their name in the file.
        dtype: Their type.
        numel: How many there are.
        data: Their bytes; None until the file is read on.
    """

    key: str
    dtype: torch.dtype
    numel: int
    data: bytearray | None = None

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True, eq=False, repr=False)
class SavedTensor:
    """A tensor as the pickle describes it: a window onto a storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.size)

    def read(self) -> Tensor:
        """The tensor itself; it shares memory with all others on its storage."""
        if not self.numel:
            return torch.empty(self.size, dtype=self.storage.dtype)
        assert self.storage.data is not None
        flat = torch.frombuffer(self.storage.data, dtype=self.storage.dtype, count=self.storage.numel)
        return flat.as_strided(self.size, self.stride, self.offset)
