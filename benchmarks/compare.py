r"""Trains and scores methods on data sets with several seeds, and writes the tables of docs/results.md and README.md.

    python benchmarks/compare.py run --root camvid=CAMVID --root isbi_em=ISBI2012 --root voc2012=VOC2012 \
        --parts voc2012=KEYPOINTS.json [--data scenes ...] [--methods protoseg ...] [--seeds 0 1] [--out runs/compare]
    python benchmarks/compare.py table

``run`` goes through data sets, methods and seeds. What is finished is left alone and what was cut off is taken up, so
the command can be stopped at any time and given again, or given several times side by side for different data. Each
run's scores go to ``benchmarks/results/DATA/METHOD-seedN.json``. ``table`` reads nothing but these files.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "results.md"
FRONT = HERE.parent / "README.md"
MARKS = "<!-- written by benchmarks/compare.py table -->", "<!-- end of benchmarks/compare.py table -->"
BLACK_BOX = "deeplabv2"
LONGER = "deeplabv2-longer"
"""The black box again, trained from the start for as many steps as the encoder of ours learns in its two trainings."""

log = logging.getLogger("compare")


@dataclass(frozen=True)
class Data:
    """How a data set is measured.

    Attributes:
        title: Its name in the table.
        split: What is measured; after each phase the mIoU is always that of ``val``.
        seeds: Trainings of each method.
        classes: Every mean IoU is over these; all if empty.
    """

    title: str
    split: str
    seeds: tuple[int, ...]
    classes: tuple[str, ...] = ()


DATA = {
    "scenes": Data("Drawn scenes, validation", "val", (0, 1, 2)),
    "camvid": Data("CamVid, test", "test", (0, 1)),
    "isbi_em": Data("ISBI 2012 EM, validation", "val", (0, 1)),
    "voc2012": Data(
        "VOC 2012 subset, validation",
        "val",
        (0, 1),
        ("background", "cat", "cow", "dog", "horse", "person", "sheep"),
    ),
}

METHODS = {
    BLACK_BOX: "DeepLabv2",
    LONGER: "DeepLabv2, encoder steps as ours",
    "protoseg": "ProtoSeg",
    "scaleprotoseg": "ScaleProtoSeg (paper)",
    "scaleprotoseg-tied": "ScaleProtoSeg (ours)",
    "scaleprotoseg-parts": "ScaleProtoSeg (ours), with parts",
}
"""Methods, and what the table calls them; those without a recipe for a data set are not run on it."""

OURS = ("scaleprotoseg-tied", "scaleprotoseg-parts")
"""Methods that start from the black box with the same seed."""

Scores = dict[str, Any]


def main() -> None:
    """Runs, or writes the table."""

    def choice(run: argparse.ArgumentParser) -> None:
        run.add_argument("--parts", action="append", default=[], type=pair, metavar="DATA=FILE")
        run.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
        run.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
        run.add_argument("--seeds", nargs="+", type=int, help="all of a data set by default")

    options = parsed(__doc__, choice)
    if options.command == "table":
        put_between(PAGE, MARKS, tables())
        put_between(FRONT, MARKS, summary())
        return
    roots, parts = dict(options.root), dict(options.parts)
    for data in options.data:
        for method in (name for name in METHODS if name in options.methods and recipe(data, name).is_file()):
            for seed in options.seeds or DATA[data].seeds:
                name = f"{method}-seed{seed}"
                run, result = options.out / data / name, RESULTS / data / f"{name}.json"
                box = run.with_name(f"{BLACK_BOX}-seed{seed}") / "model" if method in OURS else None
                where = roots.get(data), parts.get(data)
                files = Files(result, run, recipe(data, method), *where, box, changes(data, method))
                train_and_score(data, seed, files)


def parsed(document: str | None, add: Callable[[argparse.ArgumentParser], None]) -> argparse.Namespace:
    """The command line, ``run`` or ``table``; ``add`` says what else ``run`` takes. Starts the log."""
    parser = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--root", action="append", default=[], type=pair, metavar="DATA=FOLDER")
    run.add_argument("--out", type=Path, default=Path("runs/compare"))
    add(run)
    commands.add_parser("table")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    return parser.parse_args()


def pair(text: str) -> tuple[str, str]:
    """DATA=VALUE."""
    name, _, value = text.partition("=")
    if name not in DATA or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not DATA=PATH with one of {', '.join(DATA)}")
    return name, value


@dataclass(frozen=True)
class Files:
    """What a training reads and writes.

    Attributes:
        result: Its scores; it is finished if they are there.
        run: Its folder.
        recipe: What is done.
        root: Where the data lies.
        parts: Where part labels lie.
        box: The black box it starts from.
        changes: Arguments that change the recipe.
    """

    result: Path
    run: Path
    recipe: Path
    root: str | None
    parts: str | None
    box: Path | None
    changes: tuple[str, ...] = ()


def train_and_score(data: str, seed: int, files: Files) -> None:
    """One training and its scores, as far as they are not there yet."""
    run, root, parts = files.run, files.root, files.parts
    if files.result.is_file():
        return
    if not (run / "metrics.json").is_file():
        arguments = ["train", "--config", str(files.recipe), "--seed", str(seed), "--out", str(run), "--resume"]
        arguments += files.changes
        arguments += (["--data.root", root] if root else []) + (["--data.parts", parts] if parts else [])
        if files.box:
            if not files.box.is_dir():
                raise SystemExit(f"{files.box}: is not there; run {BLACK_BOX} with the same --out first")
            arguments += ["--warm_start", str(files.box)]
        scaleprotoseg(run, "train", arguments)
    scores = run / "scores.json"
    arguments = ["evaluate", str(run / "model"), "--data", data, "--split", DATA[data].split, "--scores", "all"]
    arguments += ["--out", str(scores)] + (["--root", root] if root else []) + (["--parts", parts] if parts else [])
    scaleprotoseg(run, "evaluate", arguments)
    phases = json.loads((run / "logs" / "phases.json").read_text(encoding="utf-8"))
    written = json.loads(scores.read_text(encoding="utf-8"))
    written |= {"seed": seed, "phases": {name: miou(phase) for name, phase in phases.items()}}
    files.result.parent.mkdir(parents=True, exist_ok=True)
    files.result.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def recipe(data: str, method: str) -> Path:
    """The recipe made for this comparison, else the packaged one, if there is any."""
    method = BLACK_BOX if method == LONGER else method
    own = HERE / "recipes" / data / f"{method}.yaml"
    return own if own.is_file() else HERE.parent / "src" / "scaleprotoseg" / "recipes" / data / own.name


def changes(data: str, method: str) -> tuple[str, ...]:
    """Arguments that change the recipe of a method."""
    if method != LONGER:
        return ()
    own, ours = (encoder_steps(recipe(data, name)) for name in (BLACK_BOX, OURS[0]))
    (phase,) = own
    return "--method", LONGER, f"--phases.{phase}.steps", str(own[phase] + sum(ours.values()))


def encoder_steps(path: Path) -> dict[str, int]:
    """The steps of each phase in which a recipe trains the encoder."""
    phases = yaml.safe_load(path.read_text(encoding="utf-8"))["phases"]
    return {name: phase["steps"] for name, phase in phases.items() if "encoder" in phase.get("learning_rates", {})}


def scaleprotoseg(run: Path, name: str, arguments: list[str]) -> None:
    """One command, its output in a log beside the run; stops everything if it fails."""
    log.info("%s: %s", run, name)
    run.parent.mkdir(parents=True, exist_ok=True)
    file = run.with_name(f"{run.name}.{name}.log")
    with file.open("a", encoding="utf-8") as output:
        done = subprocess.run([sys.executable, "-m", "scaleprotoseg", *arguments], stdout=output, stderr=output)
    if done.returncode:
        raise SystemExit(f"{run}: {name} ended with {done.returncode}; see {file}")


def miou(scores: Scores) -> float:
    """Mean IoU over the classes that count on its data."""
    names = DATA[scores["data"]].classes or scores["iou"]
    return statistics.fmean(scores["iou"][name] for name in names if scores["iou"][name] is not None)


def shown(scores: Scores, which: str) -> float | None:
    """Share of a similarity that is left in the region shown, or the share of the picture that this region is."""
    return scores["faithfulness"] and scores["faithfulness"]["misalignment"]["overall"][which]


def overlap(scores: Scores, kind: str) -> float | None:
    """Overlap at the 0.95 quantile."""
    return scores["overlap"] and scores["overlap"].get(kind, {}).get("0.95")


def lost(scores: Scores, phases: tuple[str, ...]) -> float | None:
    """Points of mIoU on the validation split between joint training and the last of some phases that there is."""
    before = scores["phases"].get("joint")
    after = [value for name, value in scores["phases"].items() if name in phases and name != "joint"]
    return 100 * (before - after[-1]) if before is not None and after else None


Columns = dict[str, tuple[str, Callable[[Scores], float | None]]]
"""How a number is written and where it comes from, by heading."""

COLUMNS: Columns = {
    "mIoU": (".3f", miou),
    "consistency": (".2f", lambda scores: scores["consistency"]),
    "stability": (".3f", lambda scores: scores["stability"]),
    "prototypes a class": (".1f", lambda scores: scores["sparsity"]["prototypes_per_class"]),
    "members a group": (".1f", lambda scores: scores["sparsity"]["members_per_group"]),
    "overlap, one scale": (".3f", lambda scores: overlap(scores, "within_scale")),
    "overlap, groups": (".3f", lambda scores: overlap(scores, "groups")),
    "evidence inside": (".3f", lambda scores: shown(scores, "inside")),
    "shown": (".2f", lambda scores: shown(scores, "area")),
    "lost by projection": (".1f", lambda scores: lost(scores, ("projection",))),
    "lost in all": (".1f", lambda scores: lost(scores, tuple(scores["phases"]))),
}


def tables() -> list[str]:
    """The lines of all tables there are scores for."""
    return [line for data in DATA if (RESULTS / data).is_dir() for line in table_of(data)]


def table_of(data: str) -> list[str]:
    """The lines of one data set's table."""
    found = found_in(RESULTS / data)
    boxes = {scores["seed"]: miou(scores) for scores in found.get(BLACK_BOX, [])}
    columns: Columns = {
        "mIoU": COLUMNS["mIoU"],
        "of the black box": (
            ".3f",
            lambda scores: miou(scores) / boxes[scores["seed"]] if scores["seed"] in boxes else None,
        ),
    }
    columns |= COLUMNS
    lines = table(DATA[data].title, "method", {title: found.get(name, []) for name, title in METHODS.items()}, columns)
    if all(scores["parts"] is None for runs in found.values() for scores in runs):
        lines += ["There are no part labels, so that consistency and stability cannot be measured.", ""]
    return lines


def summary() -> list[str]:
    """The lines of the table on the front page: mIoU and evidence inside of the methods that need no part labels."""
    methods = {name: title for name, title in METHODS.items() if name != "scaleprotoseg-parts"}
    explained = {name: title for name, title in methods.items() if name not in (BLACK_BOX, LONGER)}
    heads = [f"mIoU, {title}" for title in methods.values()]
    heads += [f"evidence inside, {title}" for title in explained.values()]
    lines = [f"| data | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for data, about in DATA.items():
        found = found_in(RESULTS / data)
        cells = [cell(".3f", [miou(scores) for scores in found.get(name, [])]) for name in methods]
        cells += [cell(".2f", [shown(scores, "inside") for scores in found.get(name, [])]) for name in explained]
        lines.append(f"| {about.title} | {' | '.join(cells)} |")
    return [*lines, ""]


def found_in(folder: Path) -> dict[str, list[Scores]]:
    """The scores in a folder's ``NAME-seedN.json`` by name, those of smaller seeds first."""
    found: dict[str, list[Scores]] = {}
    for file in sorted(folder.glob("*-seed*.json")):
        found.setdefault(file.stem.rpartition("-seed")[0], []).append(json.loads(file.read_text(encoding="utf-8")))
    return found


def table(title: str, corner: str, rows: dict[str, list[Scores]], columns: Columns) -> list[str]:
    """The lines of a table; rows without results are left out."""
    lines = [
        f"### {title}",
        "",
        f"| {corner} | seeds | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for name, found in rows.items():
        if found:
            cells = [cell(form, [value(scores) for scores in found]) for form, value in columns.values()]
            lines.append(f"| {name} | {len(found)} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def cell(form: str, values: list[float | None]) -> str:
    """Mean and standard deviation over seeds; a dash where nothing was measured."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    spread = f" ± {statistics.stdev(known):{form}}" if len(known) > 1 else ""
    return f"{statistics.fmean(known):{form}}{spread}"


def put_between(page: Path, marks: tuple[str, str], lines: list[str]) -> None:
    """Puts tables between their marks on a page."""
    text = page.read_text(encoding="utf-8")
    before, first, rest = text.partition(marks[0])
    _, last, after = rest.partition(marks[1])
    if not (first and last):
        raise SystemExit(f"{page}: has no place for the tables; put the lines {marks[0]} and {marks[1]} into it")
    page.write_text(before + first + "\n\n" + "\n".join(lines) + last + after, encoding="utf-8")


if __name__ == "__main__":
    main()
