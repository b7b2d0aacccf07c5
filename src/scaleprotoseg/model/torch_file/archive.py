"""Files of ``torch.save``, today's (a zip) and those before PyTorch 1.6, read without running anything they name."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.torch_file.pickles import PICKLE_LIMIT, Content, RefusedError, described, read_pickle
from scaleprotoseg.model.torch_file.saved import Storage

ZIP_START = b"PK\x03\x04"

OLD_MAGIC = 0x1950A86A20F9469CFC6C
"""The first of the five pickles that an old file begins with."""

OLD_START = b"\x80\x02\x8a\n" + OLD_MAGIC.to_bytes(10, "little")
OLD_PROTOCOL = 1001
OLD_PICKLES = 5


def read_torch_file(path: Path) -> Any:
    """The data in a file of ``torch.save``; memory and time are in proportion to the file.

    Args:
        path: The file.

    Returns:
        What was saved: plain data, with what :mod:`scaleprotoseg.model.torch_file.saved` has in the place of objects.

    Raises:
        UserError: If there is no such file, it is damaged, or it asks for more than tensors and modules.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the path")
    with one_line_errors(path), path.open("rb") as file:
        start = file.read(len(OLD_START))
        if start.startswith(ZIP_START):
            return _read_zip(file)
        if start == OLD_START:
            return _read_old(file)
        raise ValueError("neither of torch.save's two formats")


@contextmanager
def one_line_errors(path: Path) -> Iterator[None]:
    """Turns whatever a file's content makes fail into one line.

    Raises:
        UserError: Instead of any other error.
    """
    try:
        yield
    except UserError:
        raise
    except RefusedError as error:
        raise UserError(
            f"{path}: {error}, which no published checkpoint does; nothing of it was run, get it from its authors again"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the file") from error
    except Exception as error:  # Damaged bytes may make any step fail in any way.
        reason = described(str(error).strip()) or type(error).__name__
        raise UserError(f"{path}: damaged, or no checkpoint ({reason}); copy or download it again") from error


def _read_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        squeezed = [record for record in records if record.compress_type != zipfile.ZIP_STORED]
        if squeezed or sum(record.file_size for record in records) > file.seek(0, 2):
            raise ValueError("its records are compressed or overlap, torch.save's are not")
        pickles = [record for record in records if record.filename.endswith("/data.pkl")]
        if len(pickles) != 1 or pickles[0].file_size > PICKLE_LIMIT:
            raise ValueError(f"a zip without one data.pkl of at most {PICKLE_LIMIT} bytes")
        folder = pickles[0].filename.removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("its numbers are big-endian")
        content = read_pickle(archive.read(pickles[0]))
        for storage in content.storages.values():
            record = archive.getinfo(f"{folder}data/{storage.key}")
            _check_room(storage, record.file_size)
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
        raise ValueError("its numbers are big-endian, or the format is unknown")
    file.seek(position)
    for key in keys.root:
        storage = saved.storages[key]
        if int.from_bytes(file.read(8), "little") != storage.numel:
            raise ValueError(f"storage {described(key)} is of another size than described")
        _check_room(storage, size - file.tell())
        storage.data = bytearray(file.read(storage.nbytes))
    if any(storage.data is None for storage in saved.storages.values()):
        raise ValueError("it ends too early")
    return saved.root


def _check_room(storage: Storage, available: int) -> None:
    if storage.nbytes > available:
        raise ValueError(f"storage {described(storage.key)} claims more numbers than there are")
