"""The one-way flow: a folder imports only from itself and from those before it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import scaleprotoseg

ROOT = Path(scaleprotoseg.__file__).parent
ORDER = [
    *("errors", "files", "distributed"),
    *("data", "model", "training", "evaluation", "explanation"),
    *("pipeline", "sanity", "cli", "__main__"),
]


def layer_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_only_from_before(path):
    if path == ROOT / "__init__.py":
        return
    own = ORDER.index(layer_of(path))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
        for name in names:
            parts = name.split(".")
            if parts[0] != "scaleprotoseg":
                continue
            assert len(parts) > 1, f"{path}: import from the module, not from the package"
            assert ORDER.index(parts[1]) <= own, f"{path} imports {name}"


def test_the_command_line_starts_without_torch():
    code = (
        "import sys, scaleprotoseg.cli; sys.exit(any(name in sys.modules for name in ('torch', 'scipy', 'lightning')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
