"""Tensors of saved modules and state dicts by their dotted names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from scaleprotoseg.errors import UserError
from scaleprotoseg.formats.torch_file.archive import one_line_errors, read_torch_file
from scaleprotoseg.formats.torch_file.saved import SavedModule, SavedTensor

MAX_DEPTH = 20
"""Maximum depth of nested modules."""

MAX_NAME_LENGTH = 100
"""Maximum number of characters in the name of a module or tensor."""

MAX_ENTRIES = 100_000
"""Maximum number of attributes, tensors and children of all modules together."""


@dataclass
class SavedModules:
    """Tensors and attributes of a saved module and all its submodules.

    Attributes:
        path: File from which the module was read.
        tensors: Parameters, buffers and other tensors by dotted name; :meth:`take` removes them one by one.
        attributes: Attributes of every module by the dotted name of the module ("" for the root).
    """

    path: Path
    tensors: dict[str, Tensor]
    attributes: dict[str, dict[str, Any]]

    def take(self, name: str, *shape: int | None) -> Tensor:
        """Remove and return a tensor of a given shape.

        Args:
            name: Dotted name of the tensor.
            *shape: Expected length of every axis; None accepts any length.

        Raises:
            UserError: If there is no such tensor or its shape differs.
        """
        if name not in self.tensors:
            raise UserError(f"{self.path}: contains no tensor {name}; choose a checkpoint of ScaleProtoSeg or ProtoSeg")
        tensor = self.tensors.pop(name)
        matches = [expected in (None, length) for expected, length in zip(shape, tensor.shape, strict=False)]
        if tensor.ndim != len(shape) or not all(matches):
            expected = ", ".join("any" if length is None else str(length) for length in shape)
            raise UserError(
                f"{self.path}: {name} has shape {tuple(tensor.shape)} instead of ({expected}); "
                "choose a checkpoint of one of the published architectures"
            )
        return tensor


def read_modules(path: Path) -> SavedModules:
    """Read a file in which ``torch.save`` stored a whole module.

    Args:
        path: Path of the file.

    Returns:
        The tensors and attributes of the module. Tensors that share a storage in the file share memory.

    Raises:
        UserError: If the file cannot be read or contains anything but a module.
    """
    root = read_torch_file(path)
    if not isinstance(root, SavedModule):
        raise UserError(
            f"{path}: holds no whole module ({_kind(root)}); choose a checkpoint as published by its authors"
        )
    with one_line_errors(path):
        return _collect(path, root)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a file in which ``torch.save`` stored a state dict.

    Args:
        path: Path of the file.

    Returns:
        The tensors by name. Tensors that share a storage in the file share memory.

    Raises:
        UserError: If the file cannot be read or contains anything but a flat dict of tensors.
    """
    root = read_torch_file(path)
    if type(root) is not dict or not all(isinstance(tensor, SavedTensor) for tensor in root.values()):
        raise UserError(
            f"{path}: holds no plain state dict ({_kind(root)}); choose a file that contains only named tensors"
        )
    with one_line_errors(path):
        return _tensors({str(name): tensor for name, tensor in root.items()})


def _kind(root: Any) -> str:
    return "a whole module" if isinstance(root, SavedModule) else f"a {type(root).__name__}"


def _collect(path: Path, root: SavedModule) -> SavedModules:
    tensors: dict[str, SavedTensor] = {}
    attributes: dict[str, dict[str, Any]] = {}
    seen: set[int] = set()
    entries = 0
    waiting: list[tuple[tuple[str, ...], SavedModule]] = [((), root)]
    while waiting:
        names, module = waiting.pop()
        if id(module) in seen:
            continue  # As in torch, a module that occurs twice has its weights under its first name.
        seen.add(id(module))
        own = {key: value for key, value in module.state.items() if not key.startswith("_")}
        given = {**(module.state.get("_parameters") or {}), **(module.state.get("_buffers") or {}), **own}
        entries += len(given) + len(module.state["_modules"])
        if len(names) > MAX_DEPTH or entries > MAX_ENTRIES:
            raise ValueError("its modules are too many or nested too deeply")
        attributes[".".join(names)] = own
        tensors |= {
            ".".join([*names, _checked(key)]): value for key, value in given.items() if isinstance(value, SavedTensor)
        }
        children = [(key, child) for key, child in module.state["_modules"].items() if isinstance(child, SavedModule)]
        waiting += [((*names, _checked(key)), child) for key, child in reversed(children)]
    return SavedModules(path, _tensors(tensors), attributes)


def _checked(name: Any) -> str:
    """Return a component of a dotted name if it is valid."""
    if type(name) is not str or len(name) > MAX_NAME_LENGTH or "." in name:
        raise ValueError("a module or tensor has an invalid name")
    return name


def _tensors(saved: dict[str, SavedTensor]) -> dict[str, Tensor]:
    """Return the tensors; together they may be no larger than their storages, so that copies of them stay small."""
    storages = {id(tensor.storage): tensor.storage for tensor in saved.values()}
    nbytes = sum(tensor.numel * tensor.storage.dtype.itemsize for tensor in saved.values())
    if nbytes > sum(storage.nbytes for storage in storages.values()):
        raise ValueError("its tensors overlap")
    return {name: tensor.read() for name, tensor in saved.items()}
