"""The command line, with one more line in each of three tables."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from scaleprotoseg.evaluation.faithfulness import SCORES
from scaleprotoseg.model.heads import HEADS, HeadKind
from scaleprotoseg.training.phases import PHASES


def recorded(arguments: list[str]) -> dict[str, Any]:
    """Run one command and return its exit code and what it printed."""
    from tests.builders.command_line import run  # The tables are read when the command line is imported.

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(*arguments)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    HEADS["hidden-layer"] = HeadKind("tests.extensions.head:HiddenLayerHead", ("classifier",))
    PHASES["scale-head"] = "tests.extensions.phase:ScaleHead"
    SCORES["prototypes_per_scale"] = "tests.extensions.score:prototypes_per_scale"

    commands = json.load(sys.stdin)
    print(json.dumps({name: recorded(arguments) for name, arguments in commands.items()}))
