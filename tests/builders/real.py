"""Real data sets that lie beside the project; tests that need one are skipped where it is missing."""

from __future__ import annotations

from pathlib import Path

import pytest


def present(path: Path) -> Path:
    """Return the path if it exists, else skip the test."""
    if not path.exists():
        pytest.skip(f"no real data at {path}")
    return path
