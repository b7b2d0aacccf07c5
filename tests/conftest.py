"""Fixtures of several folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["tests.builders.golden"]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real data sets (``camvid/`` and others), which are not part of the project."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("SCALEPROTOSEG_DATA", beside))
    if not path.is_dir():
        pytest.skip(f"no real data at {path}; set SCALEPROTOSEG_DATA to the folder that holds camvid/")
    return path
