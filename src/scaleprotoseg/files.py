"""Writing files and folders so that nobody ever finds half of one."""

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
    """Gives an empty folder to fill, which takes ``folder``'s place when the block ends well.

    Raises:
        UserError: If the place cannot be written.
    """
    new = _beside(folder, lambda where, name: Path(tempfile.mkdtemp(prefix=name, dir=where)))
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
        raise UserError(f"{folder}: cannot be written ({error.strerror or error}); choose another place") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def require_empty(folder: Path) -> None:
    """Refuses a place for a new folder that holds something already.

    Raises:
        UserError: If it is a file, or a folder that is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is not empty; choose another --out")


def require_place(path: Path, folder: bool = False) -> None:
    """Refuses a place for a file where a folder is, or the other way round, before any work is done.

    Raises:
        UserError: If it is taken.
    """
    if path.exists() and path.is_dir() != folder:
        is_now, wanted = ("file", "folder") if folder else ("folder", "file")
        raise UserError(f"{path}: is a {is_now}; name a {wanted} for --out")


def write_file(path: Path, content: bytes | str) -> None:
    """Writes a file beside its place, then moves it there; parents are made.

    Raises:
        UserError: If the place cannot be written.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content

    def write(where: Path, name: str) -> Path:
        handle, temporary = tempfile.mkstemp(prefix=name, dir=where)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
        except OSError:
            Path(temporary).unlink()
            raise
        return Path(temporary)

    new = _beside(path, write)
    try:
        new.chmod(0o644)
        new.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error
    finally:
        new.unlink(missing_ok=True)


def _beside(path: Path, make: Callable[[Path, str], Path]) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return make(path.parent, f".{path.name}-")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error
