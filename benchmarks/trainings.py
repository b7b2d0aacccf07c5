"""The trainings that compare.py and ablate.py run, and the scores that they store.

Finished trainings are skipped and interrupted ones are resumed, so a command can be stopped at any time and started
again, or started several times side by side for different data.
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
PACKAGED_RECIPES = HERE.parent / "src" / "scaleprotoseg" / "recipes"

BLACK_BOX = "deeplabv2"
LONGER = "deeplabv2-longer"
"""The black box, trained from the start for the number of steps in which both trainings of ours train the encoder."""

OURS = ("scaleprotoseg-tied", "scaleprotoseg-parts")
"""Methods that start from the black box with the same seed."""

log = logging.getLogger("benchmarks")

Scores = dict[str, Any]
"""Content of ``benchmarks/results/DATA/METHOD-seedN.json``: metrics, seed, and the mIoU after each phase."""


@dataclass(frozen=True)
class Data:
    """A data set in the comparison.

    Attributes:
        title: Name in the tables.
        split: Split that is measured at the end; the mIoU after each phase is always that of ``val``.
        seeds: Seeds of the trainings of each method.
        classes: Classes over which every mean IoU is computed; empty for all classes.
    """

    title: str
    split: str
    seeds: tuple[int, ...]
    classes: tuple[str, ...] = ()


DATA = {
    "scenes": Data("Synthetic scenes, validation", "val", (0, 1, 2)),
    "camvid": Data("CamVid, test", "test", (0, 1)),
    "isbi_em": Data("ISBI 2012 EM, validation", "val", (0, 1)),
    "voc2012": Data(
        "VOC 2012 subset, validation",
        "val",
        (0, 1),
        ("background", "cat", "cow", "dog", "horse", "person", "sheep"),
    ),
}


@dataclass(frozen=True)
class Training:
    """Input and output of a training.

    Attributes:
        data: Name of the data set.
        seed: Seed of the training.
        result: JSON file of the scores; the training is finished if it exists.
        run: Folder of the run.
        recipe: Recipe file.
        root: Folder of the data set, if it needs one.
        parts: Annotations of object parts, if any.
        black_box: Bundle of the black box that the training starts from, if any.
        changes: Command-line arguments that change the recipe.
    """

    data: str
    seed: int
    result: Path
    run: Path
    recipe: Path
    root: str | None = None
    parts: str | None = None
    black_box: Path | None = None
    changes: tuple[str, ...] = ()


def parse_arguments(document: str | None, add_options: Callable[[argparse.ArgumentParser], None]) -> argparse.Namespace:
    """Parse a command line with the commands ``run`` and ``table``, and start logging.

    Args:
        document: Help text.
        add_options: Adds options of its own to the command ``run``.
    """
    parser = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--root", action="append", default=[], type=data_and_path, metavar="DATA=FOLDER")
    run.add_argument("--out", type=Path, default=Path("runs/compare"))
    add_options(run)
    commands.add_parser("table")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    return parser.parse_args()


def data_and_path(text: str) -> tuple[str, str]:
    """Split an argument DATA=PATH.

    >>> data_and_path("camvid=data/CamVid")
    ('camvid', 'data/CamVid')
    """
    name, _, value = text.partition("=")
    if name not in DATA or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not DATA=PATH; DATA is one of {', '.join(DATA)}")
    return name, value


def train_and_score(training: Training) -> None:
    """Train and score, as far as it has not been done yet, and store the scores."""
    if training.result.is_file():
        return
    if not (training.run / "metrics.json").is_file():
        train(training)
    scores = evaluate(training)
    phases = read_json(training.run / "logs" / "phases.json")
    scores |= {"seed": training.seed, "phases": {name: mean_iou(metrics) for name, metrics in phases.items()}}
    training.result.parent.mkdir(parents=True, exist_ok=True)
    training.result.write_text(json.dumps(scores, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def train(training: Training) -> None:
    """Run ``scaleprotoseg train``, or continue an interrupted run."""
    arguments = ["--config", str(training.recipe), "--seed", str(training.seed), "--out", str(training.run), "--resume"]
    arguments += ["--measure", "every", *training.changes]
    arguments += ["--data.root", training.root] if training.root else []
    arguments += ["--data.parts", training.parts] if training.parts else []
    if training.black_box:
        if not training.black_box.is_dir():
            raise SystemExit(f"{training.black_box}: does not exist; train {BLACK_BOX} with the same --out first")
        arguments += ["--warm_start", str(training.black_box)]
    run_command(training.run, "train", arguments)


def evaluate(training: Training) -> Scores:
    """Run ``scaleprotoseg evaluate`` with all scores, and return the metrics."""
    file = training.run / "scores.json"
    split = DATA[training.data].split
    arguments = [str(training.run / "model"), "--data", training.data, "--split", split, "--scores", "all"]
    arguments += ["--out", str(file)]
    arguments += ["--root", training.root] if training.root else []
    arguments += ["--parts", training.parts] if training.parts else []
    run_command(training.run, "evaluate", arguments)
    return read_json(file)


def run_command(run: Path, name: str, arguments: list[str]) -> None:
    """Run one command of scaleprotoseg with its output in a log file beside the run; exit if it fails."""
    log.info("%s: %s", run, name)
    run.parent.mkdir(parents=True, exist_ok=True)
    file = run.with_name(f"{run.name}.{name}.log")
    with file.open("a", encoding="utf-8") as output:
        done = subprocess.run([sys.executable, "-m", "scaleprotoseg", name, *arguments], stdout=output, stderr=output)
    if done.returncode:
        raise SystemExit(f"{run}: {name} ended with exit status {done.returncode}; see {file}")


def recipe_path(data: str, method: str) -> Path:
    """Return the recipe file of a method: the one of this comparison if there is one, else the packaged one.

    The file may not exist.
    """
    method = BLACK_BOX if method == LONGER else method
    own = HERE / "recipes" / data / f"{method}.yaml"
    return own if own.is_file() else PACKAGED_RECIPES / data / own.name


def recipe_changes(data: str, method: str) -> tuple[str, ...]:
    """Return the command-line arguments that change the recipe of a method."""
    if method != LONGER:
        return ()
    own, ours = (encoder_steps(recipe_path(data, name)) for name in (BLACK_BOX, OURS[0]))
    (phase,) = own
    return "--method", LONGER, f"--phases.{phase}.steps", str(own[phase] + sum(ours.values()))


def encoder_steps(path: Path) -> dict[str, int]:
    """Return the number of steps of each phase in which a recipe trains the encoder."""
    phases = yaml.safe_load(path.read_text(encoding="utf-8"))["phases"]
    return {name: phase["steps"] for name, phase in phases.items() if "encoder" in phase.get("learning_rates", {})}


def mean_iou(scores: Scores) -> float:
    """Average the IoU over the classes that count for the data set."""
    names = DATA[scores["data"]].classes or scores["iou"]
    return statistics.fmean(scores["iou"][name] for name in names if scores["iou"][name] is not None)


def read_scores(folder: Path) -> dict[str, list[Scores]]:
    """Read ``NAME-seedN.json`` in a folder; scores of each name are sorted by file name."""
    scores: dict[str, list[Scores]] = {}
    for file in sorted(folder.glob("*-seed*.json")):
        scores.setdefault(file.stem.rpartition("-seed")[0], []).append(read_json(file))
    return scores


def read_json(path: Path) -> dict[str, Any]:
    """Read the content of a JSON file."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values
