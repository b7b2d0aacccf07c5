r"""What each option of our recipe does alone and what all do together; writes the ablation of docs/results.md.

    python benchmarks/ablate.py run --data scenes camvid --root camvid=CAMVID [--seeds 0] [--out runs/compare]
    python benchmarks/ablate.py table

Every row starts from the black box of benchmarks/compare.py with the same seed, so run that first. As there, what is
finished is left alone, scores lie in ``benchmarks/results/ablation/DATA``, and ``table`` reads nothing but scores.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from compare import (
    BLACK_BOX,
    COLUMNS,
    DATA,
    PAGE,
    RESULTS,
    Files,
    found_in,
    parsed,
    put_between,
    recipe,
    table,
    train_and_score,
)

MARKS = "<!-- written by benchmarks/ablate.py table -->", "<!-- end of benchmarks/ablate.py table -->"

BASE = {"scenes": "scaleprotoseg-parts", "camvid": "scaleprotoseg-tied"}
"""The recipe with all options, by data set."""

OPTIONS = ("twin", "tied", "distillation", "parts", "frame")
ROWS = {"none": (), **{option: (option,) for option in OPTIONS}, "all": OPTIONS}
"""Options that are on: a noisy twin with its two losses in the place of diversity; tied prototypes; logits that are
learnt from, of the black box and later of joint training; prototypes that learn to point at parts; a region to
show that holds what a similarity comes from.
"""

KEYS = {
    "twin": ("noise", "invariance", "redundancy"),
    "tied": ("tied",),
    "distillation": ("distillation", "teacher"),
    "parts": ("pointing",),
}
"""What a phase says of an option."""

STEPS = {"prune-by-parts": "parts", "frame": "frame"}
"""Steps that belong to an option."""

DIVERSITY = 0.25
"""Weight of the paper's loss, which a twin's losses replace."""

REDUNDANCY = 1.0
"""Weight of the twin's loss that keeps prototypes apart, where a recipe leaves that to parts."""

SHOWN = {
    name: COLUMNS[name]
    for name in (
        *("mIoU", "consistency", "stability", "prototypes a class", "members a group"),
        *("evidence inside", "shown", "lost in all"),
    )
}


def main() -> None:
    """Runs, or writes the table."""

    def choice(run: argparse.ArgumentParser) -> None:
        run.add_argument("--data", nargs="+", choices=BASE, default=list(BASE))
        run.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
        run.add_argument("--seeds", nargs="+", type=int, default=[0])

    options = parsed(__doc__, choice)
    if options.command == "table":
        put_between(PAGE, MARKS, tables())
        return
    roots = dict(options.root)
    for data in options.data:
        for row in options.rows:
            for seed in options.seeds:
                ablate(data, row, seed, options.out, roots.get(data))


def ablate(data: str, row: str, seed: int, out: Path, root: str | None) -> None:
    """One training and its scores, as far as they are not there yet; none if the data has no such option."""
    values = yaml.safe_load(recipe(data, BASE[data]).read_text(encoding="utf-8"))
    if row == "parts" and not any("pointing" in phase for phase in values["phases"].values()):
        return
    run = out / "ablation" / data / f"{row}-seed{seed}"
    file = run.with_suffix(".yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(only(values, ROWS[row]), sort_keys=False), encoding="utf-8")
    result = RESULTS / "ablation" / data / f"{row}-seed{seed}.json"
    box = out / data / f"{BLACK_BOX}-seed{seed}" / "model"
    train_and_score(data, seed, Files(result, run, file, root, None, box))


def only(values: dict[str, Any], options: tuple[str, ...]) -> dict[str, Any]:
    """A recipe with some of its options."""
    dropped = {key for option, keys in KEYS.items() if option not in options for key in keys}
    phases: dict[str, Any] = {}
    for name, phase in values["phases"].items():
        do = phase.get("do", "fit")
        if do in STEPS and STEPS[do] not in options:
            continue
        phases[name] = {key: value for key, value in phase.items() if key not in dropped}
        if do == "fit" and name != "joint" and "tied" not in options:
            rates = phase["learning_rates"].items()
            phases[name]["learning_rates"] = {part: rate for part, rate in rates if part != "pyramid"}
            phases[name].pop("pointing", None)  # nothing moves the prototypes
        if "pyramid" not in phases[name].get("learning_rates", {}):
            continue
        if "twin" not in options:
            phases[name]["diversity"] = DIVERSITY
        elif "parts" not in options:
            phases[name]["redundancy"] = REDUNDANCY
    return values | {"phases": phases}


def tables() -> list[str]:
    """The lines of all tables there are scores for."""
    return [line for data in BASE if (RESULTS / "ablation" / data).is_dir() for line in table_of(data)]


def table_of(data: str) -> list[str]:
    """The lines of one data set's table."""
    found = found_in(RESULTS / "ablation" / data)
    return table(DATA[data].title, "options", {row: found.get(row, []) for row in ROWS}, SHOWN)


if __name__ == "__main__":
    main()
