"""The command line, run inside the process of the test."""

from __future__ import annotations

from pathlib import Path

from scaleprotoseg import cli


def run(*arguments: str | Path) -> int:
    """Run a command and return its exit code."""
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
