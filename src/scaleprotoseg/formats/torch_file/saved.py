"""Inert representations of the objects in a file of ``torch.save``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Name:
    """Name of a class or function in the pickle; it is never imported."""

    module: str
    name: str


@dataclass(eq=False, repr=False)
class SavedModule:
    """Representation of a ``torch.nn.Module``.

    Attributes:
        kind: Name of its class.
        state: Attributes of the module; empty until the pickle sets them.
    """

    kind: Name
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False, repr=False)
class Storage:
    """Values of tensors, which are stored outside the pickle.

    Attributes:
        key: Name of the storage in the file.
        dtype: Data type of the values.
        numel: Number of values.
        data: Bytes of the values; None until they are read.
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
    """Description of a tensor as a view of a storage.

    Attributes:
        storage: Storage with the values.
        offset: Index of the first element in the storage.
        size: Length of every axis.
        stride: Step in the storage along every axis, in elements.
    """

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.size)

    def read(self) -> Tensor:
        """Return the tensor, which shares memory with all others on the same storage."""
        if not self.numel:
            return torch.empty(self.size, dtype=self.storage.dtype)
        assert self.storage.data is not None
        flat = torch.frombuffer(self.storage.data, dtype=self.storage.dtype, count=self.storage.numel)
        return flat.as_strided(self.size, self.stride, self.offset)
