"""Atomic writing: a file or folder is either complete or not there, even if the process is killed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scaleprotoseg.errors import UserError


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to fill, which replaces ``folder`` if the block ends without an error.

    Parent folders are created.

    Raises:
        UserError: If the folder cannot be written.
    """
    new = _create_beside(folder, lambda parent, prefix: Path(tempfile.mkdtemp(prefix=prefix, dir=parent)))
    try:
        yield new
        new.chmod(0o755)
        old = new.with_name(new.name + ".old")
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def require_empty(folder: Path) -> None:
    """Check that a folder is empty or does not exist.

    Raises:
        UserError: If it is a file, or a folder that is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is not empty; choose another --out")


def require_place(path: Path, folder: bool = False) -> None:
    """Check, before any work is done, that an output file can replace what is at its path.

    Args:
        path: Path of the output; it need not exist.
        folder: True if the output is a folder.

    Raises:
        UserError: If there is a folder in place of a file, or a file in place of a folder.
    """
    if path.exists() and path.is_dir() != folder:
        is_now, wanted = ("file", "folder") if folder else ("folder", "file")
        raise UserError(f"{path}: is a {is_now}; name a {wanted} for --out")


def write_file(path: Path, content: bytes | str) -> None:
    """Write a file; parent folders are created.

    Args:
        path: Path of the file.
        content: Bytes, or text to encode as UTF-8.

    Raises:
        UserError: If the file cannot be written.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content

    def write(parent: Path, prefix: str) -> Path:
        handle, temporary = tempfile.mkstemp(prefix=prefix, dir=parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
        except OSError:
            Path(temporary).unlink()
            raise
        return Path(temporary)

    new = _create_beside(path, write)
    try:
        new.chmod(0o644)
        new.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        new.unlink(missing_ok=True)


def _create_beside(path: Path, create: Callable[[Path, str], Path]) -> Path:
    """Create something temporary in the parent folder of ``path``, from that folder and a hidden name prefix."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return create(path.parent, f".{path.name}-")
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be written ({error.strerror or error}); choose another place")
