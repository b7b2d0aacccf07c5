"""Saved modules and state dicts as tensors by their dotted names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.torch_file.archive import one_line_errors, read_torch_file
from scaleprotoseg.model.torch_file.saved import SavedModule, SavedTensor

DEEPEST = 20
"""Modules within modules."""

LONGEST_NAME = 100
"""Characters in the name of a module or tensor."""

MOST_ENTRIES = 100_000
"""Attributes, tensors and children of all modules together."""


@dataclass
class SavedModules:
    """A whole saved module, taken apart.

    Attributes:
        path: The file it comes from.
        tensors: Parameters, buffers and other tensors by dotted name; what is taken from here is used up.
        attributes: The plain attributes of every module, by its dotted name ("" is the whole).
    """

    path: Path
    tensors: dict[str, Tensor]
    attributes: dict[str, dict[str, Any]]

    def take(self, name: str, *shape: int | None) -> Tensor:
        """A tensor of a certain shape, used up from now on.

        Args:
            name: Its dotted name.
            *shape: The expected length of every axis; None stands for any.

        Raises:
            UserError: If there is none, or its shape differs.
        """
        if name not in self.tensors:
            raise UserError(f"{self.path}: has no {name}; give a checkpoint of ScaleProtoSeg or ProtoSeg")
        tensor = self.tensors.pop(name)
        fits = [wanted in (None, length) for wanted, length in zip(shape, tensor.shape, strict=False)]
        if tensor.ndim != len(shape) or not all(fits):
            wanted = ", ".join("any" if length is None else str(length) for length in shape)
            raise UserError(
                f"{self.path}: {name} has shape {tuple(tensor.shape)} instead of ({wanted}); "
                "only the published architectures can be read"
            )
        return tensor


def read_modules(path: Path) -> SavedModules:
    """Reads a file in which a whole module was saved.

    Raises:
        UserError: If the file cannot be read or holds something else.
    """
    root = read_torch_file(path)
    if not isinstance(root, SavedModule):
        raise UserError(f"{path}: holds no whole module ({_kind(root)}); give a checkpoint as the authors published it")
    with one_line_errors(path):
        return _taken_apart(path, root)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Reads a file in which a state dict was saved: names to tensors.

    Raises:
        UserError: If the file cannot be read or holds something else.
    """
    root = read_torch_file(path)
    if type(root) is not dict or not all(isinstance(tensor, SavedTensor) for tensor in root.values()):
        raise UserError(f"{path}: holds no plain state dict ({_kind(root)}); give a file of weights")
    with one_line_errors(path):
        return _read({str(name): tensor for name, tensor in root.items()})


def _kind(root: Any) -> str:
    return "a whole module" if isinstance(root, SavedModule) else f"a {type(root).__name__}"


def _taken_apart(path: Path, root: SavedModule) -> SavedModules:
    tensors: dict[str, SavedTensor] = {}
    attributes: dict[str, dict[str, Any]] = {}
    seen: set[int] = set()
    entries = 0
    waiting: list[tuple[tuple[str, ...], SavedModule]] = [((), root)]
    while waiting:
        names, module = waiting.pop()
        if id(module) in seen:
            continue  # Twice the same module has its weights under its first name, as in torch.
        seen.add(id(module))
        own = {key: value for key, value in module.state.items() if not key.startswith("_")}
        given = {**(module.state.get("_parameters") or {}), **(module.state.get("_buffers") or {}), **own}
        entries += len(given) + len(module.state["_modules"])
        if len(names) > DEEPEST or entries > MOST_ENTRIES:
            raise ValueError("its modules are too many or too deep")
        attributes[".".join(names)] = own
        tensors |= {
            ".".join([*names, _part(key)]): value for key, value in given.items() if isinstance(value, SavedTensor)
        }
        children = [(key, child) for key, child in module.state["_modules"].items() if isinstance(child, SavedModule)]
        waiting += [((*names, _part(key)), child) for key, child in reversed(children)]
    return SavedModules(path, _read(tensors), attributes)


def _part(name: Any) -> str:
    """One part of a dotted name."""
    if type(name) is not str or len(name) > LONGEST_NAME or "." in name:
        raise ValueError("a module's part has no proper name")
    return name


def _read(tensors: dict[str, SavedTensor]) -> dict[str, Tensor]:
    """The tensors themselves; together they may hold no more than the file, so that copies of them stay small."""
    storages = {id(tensor.storage): tensor.storage for tensor in tensors.values()}
    wanted = sum(tensor.numel * tensor.storage.dtype.itemsize for tensor in tensors.values())
    if wanted > sum(storage.nbytes for storage in storages.values()):
        raise ValueError("its tensors overlap")
    return {name: tensor.read() for name, tensor in tensors.items()}
