"""Reader for files of ``torch.save``, both the zip format and the one before PyTorch 1.6, that executes nothing."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from scaleprotoseg.errors import UserError
from scaleprotoseg.formats.torch_file.pickles import PICKLE_LIMIT, Content, RefusedError, described, read_pickle
from scaleprotoseg.formats.torch_file.saved import Storage

ZIP_START = b"PK\x03\x04"
"""First bytes of a zip file."""

OLD_MAGIC = 0x1950A86A20F9469CFC6C
"""Value of the first of the five pickles at the beginning of an old file."""

OLD_START = b"\x80\x02\x8a\n" + OLD_MAGIC.to_bytes(10, "little")
"""First bytes of an old file: protocol 2, a long integer of 10 bytes."""

OLD_PROTOCOL = 1001
"""Value of the second pickle, the version of the old format."""

OLD_PICKLES = 5
"""Number of pickles: magic number, version, properties of the system, saved value and keys of its storages."""


def read_torch_file(path: Path) -> Any:
    """Read a file of ``torch.save``; memory and time are proportional to the size of the file.

    Args:
        path: Path of the file.

    Returns:
        The saved value as plain data, in which the types of :mod:`scaleprotoseg.formats.torch_file.saved` represent
        tensors and modules.

    Raises:
        UserError: If the file does not exist, is damaged, or requests anything but tensors and modules.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the path")
    with one_line_errors(path), path.open("rb") as file:
        start = file.read(len(OLD_START))
        if start.startswith(ZIP_START):
            return _read_zip(file)
        if start == OLD_START:
            return _read_old(file)
        raise ValueError("it has neither of the two formats of torch.save")


@contextmanager
def one_line_errors(path: Path) -> Iterator[None]:
    """Convert every exception that the content of a file causes into an error message of one line.

    Raises:
        UserError: In place of any other exception.
    """
    try:
        yield
    except UserError:
        raise
    except RefusedError as error:
        raise UserError(
            f"{path}: {error}, which no published checkpoint does; nothing was executed, get the file from its authors"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the file") from error
    except Exception as error:  # Damaged bytes can raise any exception at any step.
        reason = described(str(error).strip()) or type(error).__name__
        raise UserError(f"{path}: damaged, or no checkpoint ({reason}); copy or download the file again") from error


def _read_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        compressed = [record for record in records if record.compress_type != zipfile.ZIP_STORED]
        if compressed or sum(record.file_size for record in records) > file.seek(0, 2):
            raise ValueError("its records are compressed or overlap, unlike those of torch.save")
        pickles = [record for record in records if record.filename.endswith("/data.pkl")]
        if len(pickles) != 1 or pickles[0].file_size > PICKLE_LIMIT:
            raise ValueError(f"the zip does not contain exactly one data.pkl of at most {PICKLE_LIMIT} bytes")
        folder = pickles[0].filename.removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("its values are big-endian")
        content = read_pickle(archive.read(pickles[0]))
        for storage in content.storages.values():
            record = archive.getinfo(f"{folder}data/{storage.key}")
            _check_size(storage, record.file_size)
            storage.data = bytearray(archive.read(record))
    return content.root


def _read_old(file: BinaryIO) -> Any:
    size = file.seek(0, 2)
    position = 0
    pickles: list[Content] = []
    for _ in range(OLD_PICKLES):
        file.seek(position)
        pickles.append(read_pickle(file.read(PICKLE_LIMIT)))
        position += pickles[-1].end
    magic, protocol, system, saved, keys = pickles
    if magic.root != OLD_MAGIC or protocol.root != OLD_PROTOCOL or system.root["little_endian"] is not True:
        raise ValueError("its values are big-endian, or the version of the format is unknown")
    file.seek(position)
    for key in keys.root:
        storage = saved.storages[key]
        if int.from_bytes(file.read(8), "little") != storage.numel:
            raise ValueError(f"storage {described(key)} does not have the described size")
        _check_size(storage, size - file.tell())
        storage.data = bytearray(file.read(storage.nbytes))
    if any(storage.data is None for storage in saved.storages.values()):
        raise ValueError("it ends too early, or its list of storages is incomplete")
    return saved.root


def _check_size(storage: Storage, available: int) -> None:
    if storage.nbytes > available:
        raise ValueError(f"storage {described(storage.key)} is larger than its data in the file")
