"""Recorded numbers of the published implementation, and a reader for its checkpoints that runs no code from them."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.builders.real import present


class Stub:
    """Replaces every class in a checkpoint that is not a type of tensor data."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class StubUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        allowed = module in ("torch._utils", "torch", "collections") and name.startswith(("_rebuild", "Ordered"))
        storage = module == "torch" and name.endswith("Storage")
        return super().find_class(module, name) if allowed or storage else Stub


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a published checkpoint, by their dotted names."""
    reader = SimpleNamespace(
        Unpickler=StubUnpickler, load=lambda file, **_: StubUnpickler(file).load(), __name__="stub"
    )
    tensors: dict[str, Tensor] = {}

    def walk(module: Any, prefix: str) -> None:
        state = vars(module)
        for name, tensor in {**(state.get("_parameters") or {}), **(state.get("_buffers") or {})}.items():
            if tensor is not None:
                tensors[prefix + name] = tensor.detach()
        for name, child in (state.get("_modules") or {}).items():
            walk(child, f"{prefix}{name}.")

    walk(torch.load(path, pickle_module=reader, weights_only=False, map_location="cpu"), "")
    return tensors


class Golden:
    """``expected.npz`` and the stage-1 checkpoint of a folder."""

    def __init__(self, folder: Path) -> None:
        self.arrays = np.load(folder / "expected.npz")
        self.stage1 = load_tensors(folder / "stage1.pth")

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(np.asarray(self.arrays[key]))

    @property
    def labels(self) -> Tensor:
        """(2, 31, 41) train ids; void, 0 in the file, is 255."""
        small = self["labels_small"].long()
        return torch.where(small == 0, 255, small - 1)

    def check(self, ours: Tensor, key: str, limit: float = 1e-5) -> None:
        """Check that our values agree with the stored ones to ``limit``, relative to the largest stored value."""
        stored = self[key].double()
        deviation = float((ours.detach().double() - stored).abs().max() / stored.abs().max())
        print(f"{key}: largest deviation {deviation:.2e}")
        assert deviation <= limit


@pytest.fixture(scope="session")
def golden(real_data: Path) -> Golden:
    return Golden(present(real_data / "golden" / "expected.npz").parent)
