"""Progress bars are for terminals."""

from __future__ import annotations

import io

import pytest
import rich
from rich.console import Console

from scaleprotoseg.progress import progress_bar


@pytest.mark.parametrize("terminal", [True, False])
def test_a_file_is_left_without_bars(terminal, monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(rich, "_console", Console(file=written, force_terminal=terminal))
    assert list(progress_bar("reading")([3, 4])) == [3, 4]
    assert ("reading" in written.getvalue()) == terminal
    assert bool(written.getvalue()) == terminal
