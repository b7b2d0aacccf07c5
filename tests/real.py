"""Real data sets that lie beside the project; what needs one skips, and says why, where it is missing."""

from __future__ import annotations

from pathlib import Path

import pytest


def present(path: Path) -> Path:
    """The path, if there is something at it."""
    if not path.exists():
        pytest.skip(f"no real data at {path}")
    return path
