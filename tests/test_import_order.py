"""The one-way flow: a room imports only from itself and from earlier rooms, and no two files import each other."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import scaleprotoseg

ROOT = Path(scaleprotoseg.__file__).parent
ROOMS = [
    *("errors", "files", "distributed", "progress"),
    *("data", "model", "formats", "inference", "training", "evaluation", "explanation"),
    *("pretrained", "pipeline", "sanity", "recipe_files", "cli", "__main__"),
]
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")
NAMED = re.compile(r"scaleprotoseg((?:\.\w+)+):\w+")
"""Modules that a registry names in a string."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> int:
    return ROOMS.index(path.relative_to(ROOT).parts[0].removesuffix(".py"))


def file_of(module: str) -> Path | None:
    """Return the file of a module such as ``scaleprotoseg.data.labels``, or None for anything else."""
    path = ROOT.joinpath(*module.split(".")[1:])
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


def imports(path: Path) -> Iterator[Path]:
    """Yield the files that a file imports anywhere: also inside functions, and for type checking only."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name_of(path)}: relative import"
            assert node.module != "scaleprotoseg", f"{name_of(path)}: import from the module, not from the package"
            # ``from package import module`` imports the module, not only the package.
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [module if file_of(module) else str(node.module) for module in modules]
        yield from (file for module in modules if module.startswith("scaleprotoseg.") and (file := file_of(module)))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_room_imports_only_from_earlier_rooms(path):
    for imported in imports(path):
        assert room_of(imported) <= room_of(path), f"{name_of(path)} imports {name_of(imported)}"
    for module in NAMED.findall(path.read_text(encoding="utf-8")):
        named = file_of(f"scaleprotoseg{module}")
        assert named is not None, f"{name_of(path)} names {module}, which does not exist"
        assert room_of(named) <= room_of(path), f"{name_of(path)} names {name_of(named)}"


def test_no_files_import_each_other():
    try:
        list(TopologicalSorter({path: set(imports(path)) for path in FILES}).static_order())
    except CycleError as error:
        pytest.fail(f"import circle: {' -> '.join(map(name_of, error.args[1]))}")


def test_heads_are_told_apart_in_their_own_room_only():
    for path in FILES:
        if "heads" not in path.parts:
            assert not re.search(r"isinstance\([^)]*Head\b", path.read_text(encoding="utf-8")), name_of(path)


@pytest.mark.parametrize("code", ["pass", "scaleprotoseg.cli.read_recipe(['--config', 'scenes/demo', '--seed', '1'])"])
def test_the_command_line_starts_and_reads_recipes_without_torch(code):
    heavy = "any(m in sys.modules for m in ('torch', 'scipy', 'lightning'))"
    subprocess.run([sys.executable, "-c", f"import sys, scaleprotoseg.cli; {code}; sys.exit({heavy})"], check=True)
