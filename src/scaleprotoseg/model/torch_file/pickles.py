"""The data in a pickle without its code: names stay names, nothing is imported and nothing is called.

A pickle is a program for a stack machine. Python's own machine looks up whatever the program names and calls it, so
that reading a file can do anything. This one knows only the few steps that ``torch.save`` writes for tensors and whole
modules, answers the few calls among them itself, and refuses all others.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from scaleprotoseg.model.torch_file.saved import Name, SavedModule, SavedTensor, Storage

PICKLE_LIMIT = 4 * 2**20
"""Largest pickle that is read, in bytes; that of a published checkpoint has a tenth of it."""

MOST_AXES = 8
"""Of a tensor."""

MOST_PARTS = 7
"""Of a reference to numbers outside the pickle; one more than there ever are."""

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

_PLAIN = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
"""Steps that put the value they hold on the stack."""

_FRESH: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
"""Steps that put a constant or an empty container on the stack."""


class RefusedError(ValueError):
    """The pickle asks for what no saved module needs; the message says for what."""


@dataclass(frozen=True)
class Content:
    """What a pickle holds.

    Attributes:
        root: Plain data, with what :mod:`scaleprotoseg.model.torch_file.saved` has in the place of objects.
        storages: All storages it refers to, by key.
        end: Bytes the pickle takes.
    """

    root: Any
    storages: dict[str, Storage]
    end: int


def read_pickle(data: bytes) -> Content:
    """Reads the pickle at the beginning of ``data``; takes time and memory in proportion to its length.

    Raises:
        RefusedError: If the pickle would call or build anything but tensors and modules.
        Exception: Of any type, if it is malformed.
    """
    machine = _Machine()
    for opcode, argument, position in pickletools.genops(data):
        assert position is not None
        if opcode.name == "STOP":
            return Content(machine.finish(), machine.storages, position + 1)
        if opcode.name == "FRAME" and _whole(argument, limit=2**64) > len(data) - position:
            raise ValueError("a frame reaches beyond the end")
        machine.step(opcode.name, argument)
    raise ValueError("it has no end")


class _Machine:
    """The stack machine."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.modules: list[SavedModule] = []

    def step(self, opcode: str, argument: Any) -> None:
        """Does one step of the program."""
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
                stack.append(self._outside(stack.pop()))
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
                raise RefusedError(f"takes the step {opcode}{held}")

    def finish(self) -> Any:
        """The one value left."""
        (root,) = self.stack
        for module in self.modules:
            if not module.state:
                raise RefusedError(f"makes a {described(module.kind)} that is no module")
        return root

    def _since_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.outer.pop()
        return items

    def _extend(self, items: list[Any]) -> None:
        _require(self.stack[-1], list).extend(items)

    def _set_items(self, items: list[Any]) -> None:
        _fill(_require(self.stack[-1], dict), zip(items[::2], items[1::2], strict=True))

    def _outside(self, identity: Any) -> Any:
        """What a reference out of the pickle means: numbers, or (in the old format) a class with its source text."""
        tag, *rest = _require(identity, tuple)[:MOST_PARTS]
        if tag == "module" and len(rest) == 3 and isinstance(rest[0], Name):
            return rest[0]
        if tag != "storage":
            raise RefusedError(f"refers to a {described(tag)} outside of it")
        kind, key, _, numel, *view = rest
        dtype = STORAGES.get(kind.name) if isinstance(kind, Name) and kind.module == "torch" else None
        if dtype is None or view not in ([], [None]):
            raise RefusedError(f"stores numbers as {described(kind)}")
        storage = Storage(_require(key, str), dtype, _whole(numel))
        known = self.storages.setdefault(storage.key, storage)
        if (known.dtype, known.numel) != (storage.dtype, storage.numel):
            raise ValueError("it describes one storage in two ways")
        return known

    def _new_module(self, kind: Any, arguments: Any) -> SavedModule:
        if not isinstance(kind, Name) or (kind.module, kind.name) in _CALLS or arguments != ():
            raise RefusedError(f"wants to make a {described(kind)}")
        self.modules.append(SavedModule(kind))
        return self.modules[-1]


def described(thing: Any) -> str:
    """What a file names, fit to be printed: its text may be of any length and hold anything."""
    text = f"{thing.module}.{thing.name}" if isinstance(thing, Name) else thing
    if not isinstance(text, str):
        return "" if thing is None else type(thing).__name__
    return ascii(text[:80])[1:-1]


def _build(target: Any, state: Any) -> None:
    """Gives a module its attributes; what state dicts carry beside their items (``_metadata``) is passed over."""
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
    _fill(values, _taken(pairs))
    return values


def _set(items: Any = None) -> set[Any]:
    return set(map(_key, _taken(items)))


def _rebuild_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, metadata: Any = None
) -> SavedTensor:
    if len(_require(size, tuple)) > MOST_AXES or len(_require(stride, tuple)) != len(size):
        raise ValueError("a tensor has no proper shape")
    tensor = SavedTensor(
        _require(storage, Storage), _whole(offset), tuple(map(_whole, size)), tuple(map(_whole, stride))
    )
    last = tensor.offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if tensor.numel > tensor.storage.numel or (tensor.numel and last >= tensor.storage.numel):
        raise ValueError("a tensor reaches beyond its numbers")
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
"""All calls that are answered, and by what: never by what the pickle names."""


def _fill(values: dict[Any, Any], pairs: Any) -> None:
    for key, value in pairs:
        values[_key(key)] = value


def _taken(items: Any) -> list[Any]:
    """The items of a list, which is empty then: one long list, used again and again, would take quadratic time."""
    if items is None:
        return []
    taken = list(_require(items, list))
    items.clear()
    return taken


def _key(value: Any) -> Any:
    """Keys may be texts and small numbers: others take a crafted file long to hash and to compare."""
    return value if type(value) is str else _whole(value, limit=2**31)


def _whole(value: Any, limit: int = 2**48) -> int:
    if type(value) is not int or not 0 <= value < limit:
        raise ValueError("a number is out of range")
    return value


def _require(value: Any, kind: type[Any]) -> Any:
    if type(value) is not kind:
        raise ValueError(f"it has a {type(value).__name__} where a {kind.__name__} belongs")
    return value
