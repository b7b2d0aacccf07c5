"""The data doctor: everything that would break or spoil training, found in one pass before it starts."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.data.files import AbsentSplitError, FaultyDataError, Inspection, PairedFiles, PartLabels, printable
from scaleprotoseg.data.labels import VOID, Color
from scaleprotoseg.data.registry import data_splits, open_dataset
from scaleprotoseg.errors import UserError

FEW_IMAGES = 3
"""Classes in fewer training images than this are reported: their prototypes would all come from one or two places."""

SMALL_SIDE = 64
"""Images with a side shorter than this many pixels are reported: few feature cells of stride 8 are left of them."""


@dataclass(frozen=True)
class ClassCount:
    """How often a class occurs in one split.

    Attributes:
        name: The class.
        color: Its red, green and blue, 0-255.
        pixels: Number of its pixels.
        share: Share of all labelled pixels, 0-1.
        images: Number of images with at least one of its pixels.
    """

    name: str
    color: Color
    pixels: int
    share: float
    images: int


@dataclass(frozen=True)
class SplitSummary:
    """What one split holds.

    Attributes:
        split: Its name.
        images: Number of samples.
        labelled: Number of those with a usable mask.
        smallest: (width, height) of the image with the fewest pixels; None if no image can be read.
        largest: (width, height) of the image with the most pixels; None if no image can be read.
        void_share: Share of mask pixels that are unlabelled, 0-1.
        classes: Every class of the label table, in its order.
    """

    split: str
    images: int
    labelled: int
    smallest: tuple[int, int] | None
    largest: tuple[int, int] | None
    void_share: float
    classes: tuple[ClassCount, ...]


@dataclass(frozen=True)
class Diagnosis:
    """All that was found, one line a finding, each naming the file and the remedy.

    Attributes:
        data: The name or folder that was examined.
        errors: What would stop training or evaluation.
        warnings: What would make its result worse or misleading.
        splits: What each split holds, as far as it can be read.
    """

    data: str
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    splits: tuple[SplitSummary, ...]


@dataclass(frozen=True)
class _Look:
    """One sample: place, faults, (width, height), pixels per train id (256), fingerprint, whether it shows a part."""

    place: str
    faults: list[str]
    size: tuple[int, int] | None
    counts: npt.NDArray[np.int64] | None
    digest: bytes | None
    shows_parts: bool


def examine(
    name_or_dir: str,
    split: str | None = None,
    root: Path | None = None,
    parts: Path | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Diagnosis:
    """Reads every file of a data set and lists all that is wrong with it. Writes nothing.

    Args:
        name_or_dir: As for :func:`~scaleprotoseg.data.registry.open_dataset`.
        split: The split to examine; None for all that are on disk, of which training needs ``train`` and ``val``.
        root: Where a known data set lies.
        parts: Where its part labels lie, to be examined too.
        progress: Wraps the indices of all pictures to show progress.

    Raises:
        UserError: If there is no such data set.
    """
    known = data_splits(name_or_dir, root)
    needed = ("train", "val") if split is None else (split,)
    errors: dict[str, None] = {}  # A dict keeps the order and drops what several splits have in common.
    opened = []
    for name in dict.fromkeys((*known, *needed)) if split is None else needed:
        try:
            opened.append(open_dataset(name_or_dir, name, root, parts))
        except FaultyDataError as error:
            errors |= dict.fromkeys(error.faults)
            if error.usable is not None:
                opened.append(error.usable)
        except AbsentSplitError as error:
            if name in needed:
                errors[str(error)] = None
        except UserError as error:
            errors[str(error)] = None
    looks: dict[str, list[_Look]] = {dataset.split: [] for dataset in opened}
    places = [(dataset, index) for dataset in opened for index in range(len(dataset))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(_look, *zip(*places, strict=True)) if places else iter(())
        for position, look in zip(progress(range(len(places))), found, strict=True):
            looks[places[position][0].split].append(look)
            errors |= dict.fromkeys(look.faults)
    splits = tuple(_summary(dataset, looks[dataset.split]) for dataset in opened)
    warnings = [line for part in looks.values() for line in _image_warnings(part)]
    warnings += [line for summary in splits if summary.split == "train" for line in _class_warnings(summary)]
    warnings += [line for dataset in opened for line in _part_warnings(dataset, looks[dataset.split])]
    warnings += _leaks(looks)
    return Diagnosis(name_or_dir, tuple(errors), tuple(dict.fromkeys(warnings)), splits)


def render(diagnosis: Diagnosis, console: Console, limit: int = 100) -> None:
    """Prints a diagnosis.

    Args:
        diagnosis: What was found.
        console: Where to print.
        limit: At most this many errors, and as many warnings, are printed; the others are counted.
    """
    for summary in diagnosis.splits:
        console.print(_headline(summary), soft_wrap=True)
        if summary.labelled:
            console.print(_class_table(summary))
    for title, style, lines in (("Error", "bold red", diagnosis.errors), ("Warning", "yellow", diagnosis.warnings)):
        for line in lines[:limit]:
            console.print(Text.assemble((f"{title}: ", style), printable(line)), soft_wrap=True)
        if len(lines) > limit:
            console.print(Text(f"... and {len(lines) - limit} more of this kind"))
    found = f"{_count(diagnosis.errors, 'error')}, {_count(diagnosis.warnings, 'warning')}"
    verdict = "mend the errors before training" if diagnosis.errors else "ready for training"
    console.print(Text(printable(f"{diagnosis.data}: {found}; {verdict}")), soft_wrap=True)


def _look(dataset: SegmentationDataset, index: int) -> _Look:
    if isinstance(dataset, PairedFiles):
        pair = dataset.pairs[index]
        place = str(pair.image)
        found = dataset.inspect(index)
        digest = hashlib.sha256(pair.image.read_bytes()).digest() if found.image is not None else None
    else:
        place = f"{dataset.split} sample {dataset.sample_names[index]}"
        try:
            sample = dataset[index]
            found = Inspection(sample.image, sample.mask, PartLabels(sample.parts, sample.keypoints))
        except UserError as error:
            found = Inspection(faults=[str(error)])
        digest = hashlib.sha256(found.image.tobytes()).digest() if found.image is not None else None
    counts = None if found.mask is None else np.bincount(found.mask.ravel(), minlength=VOID + 1)
    shows_parts = bool(found.parts.keypoints) or (found.parts.mask is not None and bool(found.parts.mask.any()))
    return _Look(place, found.faults, None if found.image is None else found.image.size, counts, digest, shows_parts)


def _summary(dataset: SegmentationDataset, looks: list[_Look]) -> SplitSummary:
    counts = np.array([look.counts for look in looks if look.counts is not None], dtype=np.int64).reshape(-1, VOID + 1)
    pixels, images = counts.sum(axis=0), (counts > 0).sum(axis=0)
    labelled = max(1, int(pixels[:VOID].sum()))
    classes = tuple(
        ClassCount(name, color, int(pixels[train]), float(pixels[train] / labelled), int(images[train]))
        for train, (name, color) in enumerate(zip(dataset.labels.names, dataset.labels.colors, strict=True))
    )
    sizes = sorted((look.size for look in looks if look.size is not None), key=lambda size: size[0] * size[1])
    return SplitSummary(
        split=dataset.split,
        images=len(looks),
        labelled=len(counts),
        smallest=sizes[0] if sizes else None,
        largest=sizes[-1] if sizes else None,
        void_share=float(pixels[VOID] / max(1, int(pixels.sum()))),
        classes=classes,
    )


def _image_warnings(looks: list[_Look]) -> Iterator[str]:
    for look in looks:
        if look.counts is not None and not look.counts[:VOID].any():
            yield f"{look.place}: has no labelled pixel; label it or leave it out"
        if look.size is not None and min(look.size) < SMALL_SIDE:
            width, height = look.size
            yield f"{look.place}: is only {width}x{height}; enlarge it, or leave it out"


def _part_warnings(dataset: SegmentationDataset, looks: list[_Look]) -> Iterator[str]:
    if dataset.parts is not None and not any(look.shows_parts for look in looks):
        yield (
            f"{dataset.split}: no picture shows a part, so consistency and stability cannot be measured on it; check "
            "that the part labels are of these pictures"
        )


def _class_warnings(train: SplitSummary) -> Iterator[str]:
    for count in train.classes if train.labelled else ():
        if count.images == 0:
            yield f"class {count.name!r} never occurs in train; label some, or take the class out of the label table"
        elif count.images < FEW_IMAGES:
            yield (
                f"class {count.name!r} occurs in only {count.images} of {train.labelled} train images; "
                "label more, or merge it with another class"
            )


def _leaks(looks: dict[str, list[_Look]]) -> Iterator[str]:
    """Pictures that are in several splits, which makes a score on the later one too good."""
    places: dict[bytes, dict[str, str]] = defaultdict(dict)
    for split, part in looks.items():
        for look in part:
            if look.digest is not None:
                places[look.digest].setdefault(split.partition("_")[0], look.place)  # train_aug holds train.
    for found in places.values():
        (first, place), *others = found.items()
        for split, other in others:
            same = "the same file" if other == place else f"identical to {other}"
            yield f"{place}: in {first}, is {same} in {split}; keep it in one split"


def _headline(summary: SplitSummary) -> Text:
    text = Text.assemble((summary.split, "bold"), f": {summary.images} images, {summary.labelled} with usable masks")
    if summary.smallest is not None and summary.largest is not None:
        sizes = dict.fromkeys(f"{width}x{height}" for width, height in (summary.smallest, summary.largest))
        text.append(f", {' to '.join(sizes)} pixels")
    return text.append(f", {summary.void_share:.1%} of the mask pixels unlabelled" if summary.labelled else "")


def _class_table(summary: SplitSummary) -> Table:
    table = Table("", "class", "share of labelled pixels", "images")
    for column in table.columns[2:]:
        column.justify = "right"
    for count in summary.classes:
        swatch = Text("  ", style="on rgb({},{},{})".format(*count.color))
        table.add_row(swatch, Text(printable(count.name)), f"{count.share:.2%}", str(count.images))
    return table


def _count(lines: tuple[str, ...], noun: str) -> str:
    return f"{len(lines)} {noun}{'' if len(lines) == 1 else 's'}"
