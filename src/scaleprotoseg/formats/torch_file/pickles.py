"""Reader for pickles that imports nothing and calls nothing.

A pickle is a program for a stack machine. The machine in Python's standard library imports and calls whatever the
program names, so that reading an untrusted file can execute arbitrary code. The machine in this module implements only
the few opcodes that ``torch.save`` writes for tensors and whole modules. It evaluates the few calls among them with its
own functions and refuses all others.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from scaleprotoseg.formats.torch_file.saved import Name, SavedModule, SavedTensor, Storage

PICKLE_LIMIT = 4 * 2**20
"""Maximum size of a pickle in bytes; that of a published checkpoint has about a tenth of it."""

MAX_AXES = 8
"""Maximum number of axes of a tensor."""

MAX_REFERENCE_FIELDS = 7
"""Number of fields of a persistent id that are read; one more than any valid one has."""

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
"""Data types of the storage classes of ``torch``."""

_PLAIN = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
"""Opcodes that push their argument."""

_FRESH: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
"""Opcodes that push a constant or a new empty container."""


class RefusedError(ValueError):
    """A forbidden request of a pickle; the message completes a sentence that starts with the file."""


@dataclass(frozen=True)
class Content:
    """Content of a pickle.

    Attributes:
        root: Pickled value as plain data, in which the types of :mod:`scaleprotoseg.formats.torch_file.saved`
            represent tensors and modules.
        storages: Referenced storages by key; their data are still missing.
        end: Length of the pickle in bytes.
    """

    root: Any
    storages: dict[str, Storage]
    end: int


def read_pickle(data: bytes) -> Content:
    """Read the pickle at the beginning of ``data``; time and memory are proportional to its length.

    Args:
        data: Bytes that start with a pickle.

    Raises:
        RefusedError: If the pickle calls or creates anything but tensors and modules.
        Exception: Any other exception if the pickle is malformed.
    """
    machine = _Machine()
    for opcode, argument, position in pickletools.genops(data):
        assert position is not None
        if opcode.name == "STOP":
            return Content(machine.finish(), machine.storages, position + 1)
        if opcode.name == "FRAME" and _integer(argument, limit=2**64) > len(data) - position:
            raise ValueError("a frame extends beyond the end of the pickle")
        machine.step(opcode.name, argument)
    raise ValueError("the pickle has no end")


class _Machine:
    """Stack machine that evaluates a pickle.

    Attributes:
        stack: Values since the last mark.
        outer: Stacks below the open marks.
        memo: Memoized values by index.
        storages: Referenced storages by key.
        modules: Created modules.
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.modules: list[SavedModule] = []

    def step(self, opcode: str, argument: Any) -> None:
        """Execute one opcode."""
        stack = self.stack
        match opcode:
            case _ if opcode in _PLAIN:
                stack.append(argument)
            case _ if opcode in _FRESH:
                stack.append(_FRESH[opcode]())
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self.outer.append(stack)
                self.stack = []
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "TUPLE":
                items = self._since_mark()
                self.stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode[-1])
                stack.append(tuple(stack.pop() for _ in range(count))[::-1])
            case "APPEND":
                self._extend([stack.pop()])
            case "APPENDS":
                self._extend(self._since_mark())
            case "ADDITEMS":
                items = self._since_mark()
                _require(self.stack[-1], set).update(map(_key, items))
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self._set_items([key, value])
            case "SETITEMS":
                self._set_items(self._since_mark())
            case "GLOBAL":
                stack.append(Name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(Name(_require(module, str), _require(name, str)))
            case "BINPERSID":
                stack.append(self._referenced(stack.pop()))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_call(function, arguments))
            case "NEWOBJ":
                arguments, kind = stack.pop(), stack.pop()
                stack.append(self._new_module(kind, arguments))
            case "BUILD":
                state = stack.pop()
                _build(stack[-1], state)
            case _:
                held = "" if argument is None else f" ({described(str(argument))})"
                raise RefusedError(f"contains the pickle opcode {opcode}{held}")

    def finish(self) -> Any:
        """Return the only remaining value."""
        (root,) = self.stack
        for module in self.modules:
            if not module.state:
                raise RefusedError(f"creates a {described(module.kind)} that is not a module")
        return root

    def _since_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.outer.pop()
        return items

    def _extend(self, items: list[Any]) -> None:
        _require(self.stack[-1], list).extend(items)

    def _set_items(self, items: list[Any]) -> None:
        _fill(_require(self.stack[-1], dict), zip(items[::2], items[1::2], strict=True))

    def _referenced(self, identity: Any) -> Any:
        """Return the target of a persistent id: a storage or, in the old format, a class with its source code."""
        tag, *rest = _require(identity, tuple)[:MAX_REFERENCE_FIELDS]
        if tag == "module" and len(rest) == 3 and isinstance(rest[0], Name):
            return rest[0]
        if tag != "storage":
            raise RefusedError(f"refers to an external object of type {described(tag)}")
        kind, key, _, numel, *view = rest
        dtype = STORAGES.get(kind.name) if isinstance(kind, Name) and kind.module == "torch" else None
        if dtype is None or view not in ([], [None]):
            raise RefusedError(f"stores values as {described(kind)}")
        storage = Storage(_require(key, str), dtype, _integer(numel))
        known = self.storages.setdefault(storage.key, storage)
        if (known.dtype, known.numel) != (storage.dtype, storage.numel):
            raise ValueError("two descriptions of one storage differ")
        return known

    def _new_module(self, kind: Any, arguments: Any) -> SavedModule:
        if not isinstance(kind, Name) or (kind.module, kind.name) in _CALLS or arguments != ():
            raise RefusedError(f"wants to create a {described(kind)}")
        self.modules.append(SavedModule(kind))
        return self.modules[-1]


def described(thing: Any) -> str:
    """Return a short printable ASCII description of a value from a file, whose text may be long or malicious."""
    text = f"{thing.module}.{thing.name}" if isinstance(thing, Name) else thing
    if not isinstance(text, str):
        return "" if thing is None else type(thing).__name__
    return ascii(text[:80])[1:-1]


def _build(target: Any, state: Any) -> None:
    """Set the attributes of a module; the attributes of a state dict (``_metadata``) are ignored."""
    if type(target) is dict and type(state) is dict:
        return
    if not isinstance(target, SavedModule) or target.state or type(state) is not dict or "_modules" not in state:
        kind = target.kind if isinstance(target, SavedModule) else target
        raise RefusedError(f"wants to set the state of {described(kind)}")
    target.state = state


def _call(function: Any, arguments: Any) -> Any:
    answer = _CALLS.get((function.module, function.name)) if isinstance(function, Name) else None
    if answer is None:
        raise RefusedError(f"wants to call {described(function)}")
    return answer(*_require(arguments, tuple))


def _ordered_dict(pairs: Any = None) -> dict[Any, Any]:
    values: dict[Any, Any] = {}
    _fill(values, _drained(pairs))
    return values


def _set(items: Any = None) -> set[Any]:
    return set(map(_key, _drained(items)))


def _rebuild_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, metadata: Any = None
) -> SavedTensor:
    if len(_require(size, tuple)) > MAX_AXES or len(_require(stride, tuple)) != len(size):
        raise ValueError("a tensor has an invalid shape")
    tensor = SavedTensor(
        _require(storage, Storage), _integer(offset), tuple(map(_integer, size)), tuple(map(_integer, stride))
    )
    last = tensor.offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if tensor.numel > tensor.storage.numel or (tensor.numel and last >= tensor.storage.numel):
        raise ValueError("a tensor extends beyond its storage")
    return tensor


def _rebuild_parameter(data: Any, requires_grad: Any, hooks: Any) -> Any:
    return _require(data, SavedTensor)


_CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("builtins", "set"): _set,
    ("__builtin__", "set"): _set,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}
"""Functions of this module that replace the few calls that are accepted."""


def _fill(values: dict[Any, Any], pairs: Any) -> None:
    for key, value in pairs:
        values[_key(key)] = value


def _drained(items: Any) -> list[Any]:
    """Empty a list and return its items; otherwise one long list, used again and again, would cost quadratic time."""
    if items is None:
        return []
    taken = list(_require(items, list))
    items.clear()
    return taken


def _key(value: Any) -> Any:
    """Return a key if it is a string or a small integer; hashing and comparing others can be slow by design."""
    return value if type(value) is str else _integer(value, limit=2**31)


def _integer(value: Any, limit: int = 2**48) -> int:
    if type(value) is not int or not 0 <= value < limit:
        raise ValueError("an integer is out of range or missing")
    return value


def _require(value: Any, kind: type[Any]) -> Any:
    if type(value) is not kind:
        raise ValueError(f"found a {type(value).__name__} in place of a {kind.__name__}")
    return value
