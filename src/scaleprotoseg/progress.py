"""Progress bars for passes over images."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich import get_console
from rich.progress import track

from scaleprotoseg.distributed import is_main

Progress = Callable[[Iterable[int]], Iterable[int]]
"""Wraps the indices of a pass to show progress; ``iter`` shows none."""


def progress_bar(description: str) -> Progress:
    """Return a progress bar for the indices of a pass; only the main process shows it, in a terminal."""
    return lambda indices: track(list(indices), description=description, transient=True, disable=is_hidden())


def is_hidden() -> bool:
    """Return True if progress bars must not be shown, because they would leave blank lines in a log file."""
    return not (is_main() and get_console().is_terminal)
