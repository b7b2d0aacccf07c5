"""Durations of reading, projecting, training and measuring in a run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from scaleprotoseg.files import write_file

Activity = Literal["reading", "projecting", "training", "measuring"]
"""``reading`` includes the frozen part of the network if its features are cached."""


class Durations:
    """Seconds that a run has spent on each activity, in a JSON file that a resumed run continues.

    Args:
        path: The file; None to write none, as in processes other than the main one.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.seconds: dict[str, float] = {}
        if path is not None and path.is_file():
            self.seconds = json.loads(path.read_text(encoding="utf-8"))

    @contextmanager
    def of(self, activity: Activity) -> Iterator[None]:
        """Add the duration of a block to an activity."""
        begun = time.perf_counter()
        yield
        self.seconds[activity] = self.seconds.get(activity, 0.0) + time.perf_counter() - begun
        if self.path is not None:
            write_file(self.path, json.dumps(self.seconds, indent=2) + "\n")
