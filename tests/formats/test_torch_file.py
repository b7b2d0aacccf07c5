"""Files of ``torch.save``: data are read, code is refused, and nothing is ever executed."""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from scaleprotoseg.errors import UserError
from scaleprotoseg.formats.torch_file.archive import read_torch_file
from scaleprotoseg.formats.torch_file.modules import read_modules, read_state_dict
from scaleprotoseg.formats.torch_file.pickles import PICKLE_LIMIT
from tests.builders.bombs import FOUR_FLOATS, archive, bombs, old_file, text

ANY_FILE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(2, 3, 3, dilation=2), deep=nn.Sequential(nn.BatchNorm2d(3))))


def saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


@pytest.fixture
def read(tmp_path) -> Callable[[bytes], Any]:
    """Return a function that reads bytes as a whole module."""

    def reading(content: bytes) -> Any:
        path = tmp_path / "model.pth"
        path.write_bytes(content)
        return read_modules(path)

    return reading


def refused(read: Callable[[bytes], Any], content: bytes) -> str:
    with pytest.raises(UserError) as error:
        read(content)
    message = str(error.value)
    assert "model.pth: " in message and "; " in message and "\n" not in message and len(message) < 500
    return message


FORMATS = [{}, {"pickle_protocol": 4}, {"pickle_protocol": 5}, {"_use_new_zipfile_serialization": False}]


@pytest.mark.parametrize("options", FORMATS)
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source")
def test_whole_modules_are_read(read, options):
    model = net()
    found = read(saved(model, **options))
    state = model.state_dict()
    assert list(found.tensors) == list(state)
    assert all(torch.equal(found.tensors[name], state[name]) for name in state)
    assert found.attributes["conv"]["dilation"] == (2, 2) and found.attributes["deep.0"]["eps"] == 1e-5


@pytest.mark.parametrize("options", FORMATS)
def test_state_dicts_are_read(tmp_path, options):
    state = net().half().state_dict() | {
        "ints": torch.arange(5),
        "transposed": torch.rand(4, 3).T,
        "empty": torch.empty(0, 2),
    }
    (tmp_path / "weights.pth").write_bytes(saved(state, **options))
    found = read_state_dict(tmp_path / "weights.pth")
    assert list(found) == list(state)
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)


def test_a_module_that_occurs_twice_has_its_weights_once(read):
    shared = nn.Linear(2, 2)
    found = read(saved(nn.ModuleList([shared, shared])))
    assert list(found.tensors) == ["0.weight", "0.bias"]


NAMES = list(bombs(Path("marker")))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrapped", [archive, "old"], ids=["zip", "old"])
def test_bombs_are_refused_and_not_executed(read, tmp_path, name, wrapped):
    marker = tmp_path / "marker"
    copyreg.add_extension("os", "system", 0xF0)
    try:
        program = bombs(marker)[name]
        content = old_file(program) if wrapped == "old" else archive(program, {"0": bytes(16)})
        message = refused(read, content)
    finally:
        copyreg.remove_extension("os", "system", 0xF0)
    assert not marker.exists()
    assert "no published checkpoint does" in message or "damaged" in message


@pytest.mark.parametrize("name", ["system, protocol 2", "eval, protocol 4", "inst", "obj", "ext", "call as a key"])
def test_bombs_are_executed_by_the_pickle_module(tmp_path, name):
    copyreg.add_extension("os", "system", 0xF0)
    try:
        pickle.loads(bombs(tmp_path / "marker")[name])
    finally:
        copyreg.remove_extension("os", "system", 0xF0)
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("system, protocol 2", "wants to call posix.system"),
        ("exec, protocol 2", "wants to call __builtin__.exec"),
        ("eval, protocol 4", "wants to call builtins.eval"),
        ("popen, protocol 4", "wants to call subprocess.Popen"),
        ("inst", "contains the pickle opcode INST (os system)"),
        ("made and left", "creates a subprocess.Popen that is not a module"),
        ("storage of a function", "stores values as os.system"),
        ("package", "refers to an external object of type reduce_package"),
        ("state of a function", "wants to set the state of os.system"),
    ],
)
def test_the_message_names_the_refused_request(read, tmp_path, name, expected):
    assert f"model.pth: {expected}" in refused(read, archive(bombs(tmp_path / "marker")[name], {"0": bytes(16)}))


def test_names_in_a_message_are_short_and_printable(read):
    message = refused(read, archive(b"c" + b"o\x1b[31m" * 400 + b"s\n" + "\U0001f4a3".encode() * 100 + b"\n)R."))
    assert "\x1b" not in message and message.isascii()


def one_tensor(size: list[int], stride: list[int], offset: int = 0, claimed: int = 4, length: int = 16) -> bytes:
    """Return a module with one parameter that has the given description and ``length`` bytes of data."""

    def number(value: int) -> bytes:
        data = value.to_bytes(9, "little", signed=True)
        return b"\x8a\x09" + data

    def numbers(values: list[int]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(claimed) + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + numbers(size) + numbers(stride)
    tensor += b"\x89ccollections\nOrderedDict\n)RtR"
    state = b"}(" + text("_modules") + b"}" + text("_parameters") + b"}" + text("w") + tensor + b"s" + b"ub"
    return archive(b"\x80\x02csome\nNet\n)\x81" + state + b".", {"0": bytes(length)})


def test_tensors_within_their_storage_are_read(read):
    assert read(one_tensor([2, 2], [2, 1])).tensors["w"].shape == (2, 2)
    assert read(one_tensor([2], [2], 1)).tensors["w"].shape == (2,)
    assert read(one_tensor([], [])).tensors["w"].shape == ()
    assert read(one_tensor([0, 2**40], [1, 1])).tensors["w"].numel() == 0


@pytest.mark.parametrize(
    "described",
    [
        {"size": [5], "stride": [1]}, {"size": [2, 2], "stride": [3, 1]}, {"size": [4], "stride": [1], "offset": 1},
        {"size": [2**40], "stride": [0]}, {"size": [4, 4], "stride": [0, 1]},
        {"size": [2], "stride": [-1], "offset": 2},
        {"size": [1], "stride": [1], "offset": -1}, {"size": [-1], "stride": [1]}, {"size": [1], "stride": [1, 1]},
        {"size": [2**62] * 4, "stride": [1] * 4}, {"size": [1] * 999, "stride": [1] * 999},
        {"size": [5], "stride": [1], "claimed": 5}, {"size": [1], "stride": [1], "claimed": 2**62},
        {"size": [1], "stride": [1], "claimed": -1}, {"size": [4], "stride": [1], "length": 15},
    ],
    ids=str,
)  # fmt: skip
def test_tensors_beyond_their_storage_are_refused(read, described):
    refused(read, one_tensor(**described))


def test_copies_of_overlapping_tensors_cannot_outgrow_the_file(read):
    model = nn.Module()
    values = torch.zeros(1000)
    for index in range(50):
        model.register_buffer(f"b{index}", values)
    assert "overlap" in refused(read, saved(model))


LENGTHS = {
    "BINUNICODE": b"X\xff\xff\xff\xff",
    "BINUNICODE8": b"\x8d" + b"\xff" * 7 + b"\x7f",
    "BINBYTES8": b"\x8e" + b"\xff" * 7 + b"\x7f",
    "BYTEARRAY8": b"\x96" + b"\xff" * 7 + b"\x7f",
    "LONG4": b"\x8b\xff\xff\xff\x7f",
    "negative LONG4": b"\x8b\xff\xff\xff\xff",
    "BINSTRING": b"T\xff\xff\xff\x7f",
    "FRAME": b"\x95" + b"\xff" * 7 + b"\x7f}.",
    "LONG_BINPUT": b"}r\xff\xff\xff\xff.",
    "LONG_BINGET": b"j\xff\xff\xff\xff.",
    "many digits": b"I" + b"9" * 100_000 + b"\n.",
    "no bytes": b"",
    "empty stack": b".",
    "two values": b"}}.",
    "mark without end": b"(((((}.",
    "invalid UTF-8": b"X\x02\x00\x00\x00\xff\xfe.",
    "unknown opcode": b"\xf0.",
    "large integer as a key": b"}\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x01s.",
    "list as a key": b"}]K\x01s.",
}


@pytest.mark.parametrize("name", LENGTHS)
def test_lengths_beyond_the_file_are_refused(read, name):
    refused(read, archive(LENGTHS[name]))
    refused(read, old_file(LENGTHS[name]))


CHILD = b")\x81}(" + text("_modules") + b"}" + text("a")
DEEP = {
    "tuples": b")" + b"\x85" * 60_000 + b".",
    "lists": b"]" * 60_000 + b"a" * 59_999 + b".",
    "dicts": b"}" + b"K\x01}" * 30_000 + b"s" * 30_000 + b".",
    "marks": b"(" * 60_000 + b"}.",
    "keys": b"})" + b"\x85" * 60_000 + b"K\x01s.",
    "modules": b"cm\nNet\nq\x00" + CHILD + (b"h\x00" + CHILD) * 1_999 + b"N" + b"sub" * 2_000 + b".",
    "one list used often": b"]("
    + b"(K\x01K\x02t" * 30_000
    + b"e\x85q\x00ccollections\nOrderedDict\nq\x01"
    + b"h\x01h\x00R" * 12_000
    + b".",
    "one reference used often": b"(" + b"K\x01" * 60_000 + b"tq\x00" + b"h\x00Q" * 12_000 + b".",
}


@pytest.mark.parametrize("name", DEEP)
def test_depth_and_repetition_cost_little(read, name):
    refused(read, archive(DEEP[name]))


def test_modules_within_modules_are_bounded(read):
    chain: nn.Module = nn.Identity()
    for _ in range(40):
        chain = nn.Sequential(chain)
    assert "too deep" in refused(read, saved(chain))
    model = nn.Module()
    model.__dict__["_parameters"] = dict.fromkeys(f"p{index}" for index in range(100_001))
    assert "too many" in refused(read, saved(model))
    model = nn.Module()
    model.__dict__["_buffers"] = {"a" * 200: torch.zeros(1)}
    refused(read, saved(model))
    model = nn.Module()
    model.__dict__["_modules"] = {"self": model}
    assert read(saved(model)).tensors == {}


def zips() -> dict[str, bytes]:
    whole = saved(net())
    twice = io.BytesIO(whole)
    with zipfile.ZipFile(twice, "a") as out:
        out.writestr("other/data.pkl", b"}.")
    large = archive(b"}." + bytes(PICKLE_LIMIT))
    claimed = bytearray(archive(b"}.", {"0": bytes(16)}))
    for header in (claimed.rfind(b"PK\x01\x02"), claimed.rfind(b"PK\x03\x04")):
        struct.pack_into("<II", claimed, header + (20 if claimed[header + 2] == 1 else 18), 2**31, 2**31)
    return {
        "deflated": archive(b"}.", {"0": bytes(10_000_000)}, zipfile.ZIP_DEFLATED),
        "claimed size": bytes(claimed),
        "large pickle": large,
        "two pickles": twice.getvalue(),
        "no pickle": archive(b"}.").replace(b"data.pkl", b"code.pkl"),
        "big-endian": archive(b"}.", order="big"),
        "wrong checksum": whole.replace(b"_parameters", b"_Parameters"),
        "missing storage": one_tensor([1], [1]).replace(b"net/data/0", b"net/data/1"),
        "not a file of torch": b"GIF89a" + bytes(100),
        "nothing": b"",
        "only the start": b"PK\x03\x04",
        "a state dict": saved(net().state_dict()),
        "a number": saved(7),
        "old, big-endian": old_file(b"}.").replace(b"\x88", b"\x89"),
        "old, no storage": old_file(FOUR_FLOATS + b".", (), b""),
        "old, short storage": old_file(FOUR_FLOATS + b".", data=struct.pack("<q3f", 4, 1, 2, 3)),
        "old, other size": old_file(FOUR_FLOATS + b".", data=struct.pack("<q3f", 3, 1, 2, 3)),
        "old, unknown storage": old_file(FOUR_FLOATS + b".", ("1",)),
    }


@pytest.mark.parametrize("name", list(zips()))
def test_damaged_and_foreign_files_are_refused(read, name):
    refused(read, zips()[name])


def test_paths_that_are_not_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file; check the path"):
        read_torch_file(tmp_path / "none.pth")
    with pytest.raises(UserError, match="no such file; check the path"):
        read_torch_file(tmp_path)
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(UserError, match="no such file; check the path"):
        read_torch_file(tmp_path / "pipe.pth")


def only_user_errors(read: Callable[[bytes], Any], content: bytes) -> None:
    try:
        read(content)
    except UserError as error:
        assert "\n" not in str(error)


OLD = saved(net().state_dict(), _use_new_zipfile_serialization=False)


@ANY_FILE
@given(fraction=st.floats(0, 1, exclude_max=True), old=st.booleans())
def test_a_truncated_file_is_refused(read, fraction, old):
    whole = OLD if old else saved(net())
    refused(read, whole[: int(fraction * len(whole))])


@ANY_FILE
@given(data=st.data())
def test_flipped_bytes_are_never_executed_and_never_cause_a_traceback(read, tmp_path, data):
    """Flip bytes in whole files and in pickles of modules and bombs, which get a valid checksum afterwards."""
    marker = tmp_path / "marker"
    programs = [
        zipfile.ZipFile(io.BytesIO(saved(net()))).read("archive/data.pkl"),
        *bombs(marker).values(),
        OLD,
        saved(net()),
    ]
    program = bytearray(data.draw(st.sampled_from(programs), "program"))
    for position in data.draw(st.lists(st.integers(0, len(program) - 1), min_size=1, max_size=4), "positions"):
        program[position] ^= data.draw(st.integers(1, 255), "flip")
    whole = program.startswith((b"PK", b"\x80\x02\x8a\n")) or data.draw(st.booleans(), "old")
    storages = {str(key): bytes(216) for key in range(7)}
    only_user_errors(read, bytes(program) if whole else archive(bytes(program), storages))
    only_user_errors(read, old_file(bytes(program)))
    assert not marker.exists()


def test_archives_around_valid_pickles_are_accepted(read):
    """Ensure that the bombs above are not refused because of the archive around them."""
    with zipfile.ZipFile(io.BytesIO(saved(net()))) as whole:
        records = {
            name.removeprefix("archive/data/"): whole.read(name) for name in whole.namelist() if "/data/" in name
        }
        content = archive(whole.read("archive/data.pkl"), records)
    assert list(read(content).tensors) == list(net().state_dict())
    assert "holds no whole module (a dict)" in refused(read, old_file(b"}.", (), b""))
