r"""Train and score methods on data sets with several seeds, and write the tables of docs/results.md and README.md.

    python benchmarks/compare.py run --root camvid=CAMVID --root isbi_em=ISBI2012 --root voc2012=VOC2012 \
        --parts voc2012=KEYPOINTS.json [--data scenes ...] [--methods protoseg ...] [--seeds 0 1] [--out runs/compare]
    python benchmarks/compare.py table

``run`` trains every method on every data set with every seed and stores the scores of each training in
``benchmarks/results/DATA/METHOD-seedN.json``. Finished trainings are skipped and interrupted ones are resumed, so the
command can be stopped at any time, or started several times side by side for different data. ``table`` reads only the
stored scores.
"""

from __future__ import annotations

import argparse

from score_tables import COLUMNS, PAGE, Columns, evidence, mean_and_spread, replace_between, table
from trainings import (
    BLACK_BOX,
    DATA,
    HERE,
    LONGER,
    OURS,
    RESULTS,
    Scores,
    Training,
    data_and_path,
    mean_iou,
    parse_arguments,
    read_scores,
    recipe_changes,
    recipe_path,
    train_and_score,
)

FRONT_PAGE = HERE.parent / "README.md"
MARKS = "<!-- written by benchmarks/compare.py table -->", "<!-- end of benchmarks/compare.py table -->"

METHODS = {
    BLACK_BOX: "DeepLabv2",
    LONGER: "DeepLabv2, same encoder steps",
    "protoseg": "ProtoSeg",
    "scaleprotoseg": "ScaleProtoSeg (paper)",
    "scaleprotoseg-tied": "ScaleProtoSeg (ours)",
    "scaleprotoseg-parts": "ScaleProtoSeg (ours), with parts",
}
"""Methods by name, with their titles in the tables; a method without a recipe for a data set is not run on it."""


def main() -> None:
    """Run the trainings, or write the tables."""

    def add_options(run: argparse.ArgumentParser) -> None:
        run.add_argument("--parts", action="append", default=[], type=data_and_path, metavar="DATA=FILE")
        run.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
        run.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
        run.add_argument("--seeds", nargs="+", type=int, help="by default, all seeds of each data set")

    options = parse_arguments(__doc__, add_options)
    if options.command == "table":
        replace_between(PAGE, MARKS, tables())
        replace_between(FRONT_PAGE, MARKS, summary())
        return
    roots, parts = dict(options.root), dict(options.parts)
    for data in options.data:
        for method in (name for name in METHODS if name in options.methods and recipe_path(data, name).is_file()):
            for seed in options.seeds or DATA[data].seeds:
                name = f"{method}-seed{seed}"
                run = options.out / data / name
                training = Training(
                    data,
                    seed,
                    result=RESULTS / data / f"{name}.json",
                    run=run,
                    recipe=recipe_path(data, method),
                    root=roots.get(data),
                    parts=parts.get(data),
                    black_box=run.with_name(f"{BLACK_BOX}-seed{seed}") / "model" if method in OURS else None,
                    changes=recipe_changes(data, method),
                )
                train_and_score(training)


def tables() -> list[str]:
    """Return the lines of the tables of all data sets that have scores."""
    return [line for data in DATA if (RESULTS / data).is_dir() for line in table_of(data)]


def table_of(data: str) -> list[str]:
    """Return the lines of the table of one data set."""
    scores_by_method = read_scores(RESULTS / data)
    black_box_miou = {scores["seed"]: mean_iou(scores) for scores in scores_by_method.get(BLACK_BOX, [])}

    def relative_miou(scores: Scores) -> float | None:
        seed = scores["seed"]
        return mean_iou(scores) / black_box_miou[seed] if seed in black_box_miou else None

    columns: Columns = {"mIoU": COLUMNS["mIoU"], "of the black box": (".3f", relative_miou)} | COLUMNS
    rows = {title: scores_by_method.get(name, []) for name, title in METHODS.items()}
    lines = table(DATA[data].title, "method", rows, columns)
    if all(scores["parts"] is None for runs in scores_by_method.values() for scores in runs):
        lines += ["The data has no annotations of object parts, so consistency and stability cannot be measured.", ""]
    return lines


def summary() -> list[str]:
    """Return the lines of the table on the front page: mIoU and evidence inside of the methods that need no parts."""
    methods = {name: title for name, title in METHODS.items() if name != "scaleprotoseg-parts"}
    explained = {name: title for name, title in methods.items() if name not in (BLACK_BOX, LONGER)}
    headings = [f"mIoU, {title}" for title in methods.values()]
    headings += [f"evidence inside, {title}" for title in explained.values()]
    lines = [f"| data | {' | '.join(headings)} |", "|---" * (len(headings) + 1) + "|"]
    for name, data in DATA.items():
        scores = read_scores(RESULTS / name)
        cells = [mean_and_spread(".3f", [mean_iou(one) for one in scores.get(method, [])]) for method in methods]
        cells += [
            mean_and_spread(".2f", [evidence(one, "inside") for one in scores.get(method, [])]) for method in explained
        ]
        lines.append(f"| {data.title} | {' | '.join(cells)} |")
    return [*lines, ""]


if __name__ == "__main__":
    main()
