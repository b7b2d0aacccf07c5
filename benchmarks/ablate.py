r"""Train our recipe with each of its options alone and with all of them, and write the ablation of docs/results.md.

    python benchmarks/ablate.py run --data scenes camvid --root camvid=CAMVID [--seeds 0] [--out runs/compare]
    python benchmarks/ablate.py table

Every training starts from the black box of benchmarks/compare.py with the same seed, so train that first. As there,
finished trainings are skipped and ``table`` reads only stored scores. They are in ``benchmarks/results/ablation/DATA``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from score_tables import COLUMNS, PAGE, replace_between, table
from trainings import BLACK_BOX, DATA, RESULTS, Training, parse_arguments, read_scores, recipe_path, train_and_score

MARKS = "<!-- written by benchmarks/ablate.py table -->", "<!-- end of benchmarks/ablate.py table -->"

BASE = {"scenes": "scaleprotoseg-parts", "camvid": "scaleprotoseg-tied"}
"""The recipe with all options, by data set."""

OPTIONS = ("noise", "tied", "distillation", "parts", "frame")
"""The options.

- ``noise``: a noisy copy of each image with two losses, instead of the diversity loss.
- ``tied``: prototypes that follow their training patches while the pyramid is trained.
- ``distillation``: the black box, and later the jointly trained network, as teacher.
- ``parts``: prototypes that are assigned to object parts.
- ``frame``: explanations show the region that holds the evidence.
"""

ROWS = {"none": (), **{option: (option,) for option in OPTIONS}, "all": OPTIONS}
"""Rows of the table, with the options that are on."""

KEYS = {
    "noise": ("noise", "invariance", "redundancy"),
    "tied": ("tied",),
    "distillation": ("distillation", "teacher"),
    "parts": ("pointing",),
}
"""Keys of a phase that belong to an option."""

PHASES = {"prune-by-parts": "parts", "frame": "frame"}
"""Kinds of phases that belong to an option."""

DIVERSITY = 0.25
"""Weight of the diversity loss, which the losses of ``noise`` replace."""

REDUNDANCY = 1.0
"""Weight of the loss that keeps prototypes apart, for recipes that rely on ``parts`` instead."""

HEADINGS = (
    *("mIoU", "consistency", "stability", "prototypes per class", "members per group"),
    *("evidence inside", "shown", "lost in total"),
)
"""Columns of the table."""


def main() -> None:
    """Run the trainings, or write the tables."""

    def add_options(run: argparse.ArgumentParser) -> None:
        run.add_argument("--data", nargs="+", choices=BASE, default=list(BASE))
        run.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
        run.add_argument("--seeds", nargs="+", type=int, default=[0])

    options = parse_arguments(__doc__, add_options)
    if options.command == "table":
        replace_between(PAGE, MARKS, tables())
        return
    roots = dict(options.root)
    for data in options.data:
        for row in options.rows:
            for seed in options.seeds:
                ablate(data, row, seed, options.out, roots.get(data))


def ablate(data: str, row: str, seed: int, out: Path, root: str | None) -> None:
    """Train and score one row, unless the recipe does not have the option."""
    values = yaml.safe_load(recipe_path(data, BASE[data]).read_text(encoding="utf-8"))
    if row == "parts" and not any("pointing" in phase for phase in values["phases"].values()):
        return
    name = f"{row}-seed{seed}"
    run = out / "ablation" / data / name
    recipe = run.with_suffix(".yaml")
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(yaml.safe_dump(with_options(values, ROWS[row]), sort_keys=False), encoding="utf-8")
    result = RESULTS / "ablation" / data / f"{name}.json"
    black_box = out / data / f"{BLACK_BOX}-seed{seed}" / "model"
    train_and_score(Training(data, seed, result, run, recipe, root, black_box=black_box))


def with_options(values: dict[str, Any], options: tuple[str, ...]) -> dict[str, Any]:
    """Return a recipe with some of its options.

    Args:
        values: The recipe with all options, as plain values.
        options: The options that stay on.
    """
    phases = {
        name: phase_with_options(name, phase, options)
        for name, phase in values["phases"].items()
        if PHASES.get(phase.get("do", "fit")) in (None, *options)
    }
    return values | {"phases": phases}


def phase_with_options(name: str, phase: dict[str, Any], options: tuple[str, ...]) -> dict[str, Any]:
    """Return a phase without the keys of the other options, with the losses that take their place."""
    dropped = {key for option, keys in KEYS.items() if option not in options for key in keys}
    changed = {key: value for key, value in phase.items() if key not in dropped}
    if phase.get("do", "fit") == "fit" and name != "joint" and "tied" not in options:
        rates = phase["learning_rates"].items()
        changed["learning_rates"] = {component: rate for component, rate in rates if component != "pyramid"}
        changed.pop("pointing", None)  # It needs a component that moves the prototypes.
    if "pyramid" not in changed.get("learning_rates", {}):
        return changed
    if "noise" not in options:
        changed["diversity"] = DIVERSITY
    elif "parts" not in options:
        changed["redundancy"] = REDUNDANCY
    return changed


def tables() -> list[str]:
    """Return the lines of the tables of all data sets that have scores."""
    return [line for data in BASE if (RESULTS / "ablation" / data).is_dir() for line in table_of(data)]


def table_of(data: str) -> list[str]:
    """Return the lines of the table of one data set."""
    scores = read_scores(RESULTS / "ablation" / data)
    columns = {heading: COLUMNS[heading] for heading in HEADINGS}
    return table(DATA[data].title, "options", {row: scores.get(row, []) for row in ROWS}, columns)


if __name__ == "__main__":
    main()
