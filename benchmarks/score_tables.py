"""Tables of scores in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

from trainings import HERE, Scores, mean_iou

PAGE = HERE.parent / "docs" / "results.md"

Columns = dict[str, tuple[str, Callable[[Scores], float | None]]]
"""Format of a number, and a function that returns it, by column heading."""


def evidence(scores: Scores, key: str) -> float | None:
    """Return a mean of the misalignment over all prototypes; None if it was not measured."""
    return scores["faithfulness"] and scores["faithfulness"]["misalignment"]["overall"][key]


def overlap(scores: Scores, kind: str) -> float | None:
    """Return the overlap of a kind of pair at the 0.95 quantile; None if it was not measured."""
    return scores["overlap"] and scores["overlap"].get(kind, {}).get("0.95")


def lost_points(scores: Scores, phases: tuple[str, ...]) -> float | None:
    """Return the points of mIoU on the validation split that are lost after joint training.

    Args:
        scores: Scores of a training.
        phases: Names of phases; the loss is measured after the last of them that the training has.

    Returns:
        Difference in percentage points; None without joint training or without such a phase.
    """
    before = scores["phases"].get("joint")
    after = [value for name, value in scores["phases"].items() if name in phases and name != "joint"]
    return 100 * (before - after[-1]) if before is not None and after else None


COLUMNS: Columns = {
    "mIoU": (".3f", mean_iou),
    "consistency": (".2f", lambda scores: scores["consistency"]),
    "stability": (".3f", lambda scores: scores["stability"]),
    "prototypes per class": (".1f", lambda scores: scores["sparsity"]["prototypes_per_class"]),
    "members per group": (".1f", lambda scores: scores["sparsity"]["members_per_group"]),
    "overlap, one scale": (".3f", lambda scores: overlap(scores, "within_scale")),
    "overlap, groups": (".3f", lambda scores: overlap(scores, "groups")),
    "evidence inside": (".3f", lambda scores: evidence(scores, "inside")),
    "shown": (".2f", lambda scores: evidence(scores, "area")),
    "lost through projection": (".1f", lambda scores: lost_points(scores, ("projection",))),
    "lost in total": (".1f", lambda scores: lost_points(scores, tuple(scores["phases"]))),
}


def table(title: str, corner: str, rows: dict[str, list[Scores]], columns: Columns) -> list[str]:
    """Return the lines of a table.

    Args:
        title: Heading above the table.
        corner: Heading of the first column.
        rows: Scores of each row, one per seed; rows without scores are left out.
        columns: The columns.
    """
    lines = [
        f"### {title}",
        "",
        f"| {corner} | seeds | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for name, runs in rows.items():
        if runs:
            cells = [mean_and_spread(form, [value(scores) for scores in runs]) for form, value in columns.values()]
            lines.append(f"| {name} | {len(runs)} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def mean_and_spread(form: str, values: list[float | None]) -> str:
    """Format the mean and standard deviation over seeds; a dash if nothing was measured.

    >>> mean_and_spread(".2f", [1.0, 3.0, None])
    '2.00 ± 1.41'
    """
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    spread = f" ± {statistics.stdev(known):{form}}" if len(known) > 1 else ""
    return f"{statistics.fmean(known):{form}}{spread}"


def replace_between(page: Path, marks: tuple[str, str], lines: list[str]) -> None:
    """Replace the lines between the first and the second mark on a page."""
    text = page.read_text(encoding="utf-8")
    before, first, rest = text.partition(marks[0])
    _, last, after = rest.partition(marks[1])
    if not (first and last):
        raise SystemExit(f"{page}: has no marks around the tables; add the lines {marks[0]} and {marks[1]}")
    page.write_text(before + first + "\n\n" + "\n".join(lines) + last + after, encoding="utf-8")
