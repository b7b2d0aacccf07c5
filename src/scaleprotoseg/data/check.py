"""Checking a data set before training: one pass finds every fault that would stop a training or distort its result."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

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
"""Number of training images below which a class gets a warning: all its prototypes would show one or two objects."""

SMALL_SIDE = 64
"""Side length in pixels below which an image gets a warning: at stride 8, its feature map has only a few cells."""


@dataclass(frozen=True)
class ClassCount:
    """Frequency of a class in one split.

    Attributes:
        name: Name of the class.
        color: Red, green and blue of the class, 0-255.
        pixels: Number of pixels of the class.
        share: Fraction of all labeled pixels, 0-1.
        images: Number of images with at least one pixel of the class.
    """

    name: str
    color: Color
    pixels: int
    share: float
    images: int


@dataclass(frozen=True)
class SplitSummary:
    """Contents of one split.

    Attributes:
        split: Name of the split.
        images: Number of samples.
        labelled: Number of samples with a usable mask.
        smallest: (width, height) of the image with the fewest pixels; None if no image can be read.
        largest: (width, height) of the image with the most pixels; None if no image can be read.
        void_share: Fraction of the mask pixels that are unlabeled, 0-1.
        classes: Frequency of every class of the label table, in its order.
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
    """Findings about a data set, one line each, which names the file and the remedy.

    Attributes:
        data: Name or folder of the data set.
        errors: Faults that would stop training or evaluation.
        warnings: Findings that would make the result worse or misleading.
        splits: Contents of each split, as far as they can be read.
    """

    data: str
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    splits: tuple[SplitSummary, ...]


@dataclass(frozen=True)
class _CheckedSample:
    """Findings about one sample.

    Attributes:
        place: Path or name of the sample, for messages.
        faults: Faults of its files, one line each.
        size: (width, height) of the image; None if it cannot be read.
        counts: (256,) number of pixels of each train id; None without a usable mask.
        digest: Hash that is equal for equal images; None if the image cannot be read.
        shows_parts: True if any object part is annotated in the image.
    """

    place: str
    faults: list[str]
    size: tuple[int, int] | None
    counts: npt.NDArray[np.int64] | None
    digest: bytes | None
    shows_parts: bool


def examine(
    name_or_dir: str | os.PathLike[str],
    split: str | None = None,
    root: str | os.PathLike[str] | None = None,
    parts: str | os.PathLike[str] | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Diagnosis:
    """Read every file of a data set and list all faults, without writing anything.

    Args:
        name_or_dir: Name or folder of the data set, as for :func:`~scaleprotoseg.data.registry.open_dataset`.
        split: Split to examine; None for all splits on disk, of which training needs ``train`` and ``val``.
        root: Folder of a data set known by name.
        parts: Folder or file of its part labels, to be examined as well.
        progress: Function that wraps the indices of all images to show progress.

    Raises:
        UserError: If there is no such data set.
    """
    known = data_splits(name_or_dir, root)
    needed = ("train", "val") if split is None else (split,)
    errors: dict[str, None] = {}  # A dict keeps the order and drops errors that several splits have in common.
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
    checked: dict[str, list[_CheckedSample]] = {dataset.split: [] for dataset in opened}
    positions = [(dataset, index) for dataset in opened for index in range(len(dataset))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(_check_sample, *zip(*positions, strict=True)) if positions else iter(())
        for position, sample in zip(progress(range(len(positions))), results, strict=True):
            checked[positions[position][0].split].append(sample)
            errors |= dict.fromkeys(sample.faults)
    splits = tuple(_summary(dataset, checked[dataset.split]) for dataset in opened)
    warnings = [line for samples in checked.values() for line in _image_warnings(samples)]
    warnings += [line for summary in splits if summary.split == "train" for line in _class_warnings(summary)]
    warnings += [line for dataset in opened for line in _part_warnings(dataset, checked[dataset.split])]
    warnings += _leak_warnings(checked)
    return Diagnosis(os.fspath(name_or_dir), tuple(errors), tuple(dict.fromkeys(warnings)), splits)


def render(diagnosis: Diagnosis, console: Console, limit: int = 100) -> None:
    """Print a diagnosis.

    Args:
        diagnosis: Findings to print.
        console: Console to print to.
        limit: Largest number of errors, and of warnings, to print; the remaining ones are counted.
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
    verdict = "fix the errors before training" if diagnosis.errors else "ready for training"
    console.print(Text(printable(f"{diagnosis.data}: {found}; {verdict}")), soft_wrap=True)


def _check_sample(dataset: SegmentationDataset, index: int) -> _CheckedSample:
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
    size = None if found.image is None else found.image.size
    counts = None if found.mask is None else np.bincount(found.mask.ravel(), minlength=VOID + 1)
    shows_parts = bool(found.parts.keypoints) or (found.parts.mask is not None and bool(found.parts.mask.any()))
    return _CheckedSample(place, found.faults, size, counts, digest, shows_parts)


def _summary(dataset: SegmentationDataset, samples: list[_CheckedSample]) -> SplitSummary:
    rows = [sample.counts for sample in samples if sample.counts is not None]
    counts = np.array(rows, dtype=np.int64).reshape(-1, VOID + 1)
    pixels, images = counts.sum(axis=0), (counts > 0).sum(axis=0)
    labeled = max(1, int(pixels[:VOID].sum()))
    classes = tuple(
        ClassCount(name, color, int(pixels[train]), float(pixels[train] / labeled), int(images[train]))
        for train, (name, color) in enumerate(zip(dataset.labels.names, dataset.labels.colors, strict=True))
    )
    sizes = sorted((sample.size for sample in samples if sample.size is not None), key=lambda size: size[0] * size[1])
    return SplitSummary(
        split=dataset.split,
        images=len(samples),
        labelled=len(counts),
        smallest=sizes[0] if sizes else None,
        largest=sizes[-1] if sizes else None,
        void_share=float(pixels[VOID] / max(1, int(pixels.sum()))),
        classes=classes,
    )


def _image_warnings(samples: list[_CheckedSample]) -> Iterator[str]:
    for sample in samples:
        if sample.counts is not None and not sample.counts[:VOID].any():
            yield f"{sample.place}: has no labeled pixel; label it or leave it out"
        if sample.size is not None and min(sample.size) < SMALL_SIDE:
            width, height = sample.size
            yield f"{sample.place}: is only {width}x{height} pixels; enlarge it or leave it out"


def _part_warnings(dataset: SegmentationDataset, samples: list[_CheckedSample]) -> Iterator[str]:
    if dataset.parts is not None and not any(sample.shows_parts for sample in samples):
        yield (
            f"{dataset.split}: no image shows an object part, so consistency and stability cannot be measured on it; "
            "check that the part labels belong to these images"
        )


def _class_warnings(train: SplitSummary) -> Iterator[str]:
    for count in train.classes if train.labelled else ():
        if count.images == 0:
            yield (
                f"class {count.name!r}: does not occur in train; "
                "label some of its pixels, or remove the class from the label table"
            )
        elif count.images < FEW_IMAGES:
            yield (
                f"class {count.name!r}: occurs in only {count.images} of {train.labelled} train images; "
                "label more, or merge it with another class"
            )


def _leak_warnings(checked: dict[str, list[_CheckedSample]]) -> Iterator[str]:
    """Yield a warning for every image that occurs in several splits, which makes the scores of one too high."""
    places: dict[bytes, dict[str, str]] = defaultdict(dict)
    for split, samples in checked.items():
        for sample in samples:
            if sample.digest is not None:
                # Splits such as train_aug contain all images of train.
                places[sample.digest].setdefault(split.partition("_")[0], sample.place)
    for found in places.values():
        (first, place), *others = found.items()
        for split, other in others:
            same = "also" if other == place else f"identical to {other}"
            yield f"{place}: is in {first} and {same} in {split}; keep it in one split"


def _headline(summary: SplitSummary) -> Text:
    text = Text.assemble((summary.split, "bold"), f": {summary.images} images, {summary.labelled} with usable masks")
    if summary.smallest is not None and summary.largest is not None:
        sizes = dict.fromkeys(f"{width}x{height}" for width, height in (summary.smallest, summary.largest))
        text.append(f", {' to '.join(sizes)} pixels")
    return text.append(f", {summary.void_share:.1%} of the mask pixels unlabeled" if summary.labelled else "")


def _class_table(summary: SplitSummary) -> Table:
    table = Table("", "class", "of labeled pixels", "images")
    for column in table.columns[2:]:
        column.justify = "right"
    for count in summary.classes:
        swatch = Text("  ", style="on rgb({},{},{})".format(*count.color))
        table.add_row(swatch, Text(printable(count.name)), f"{count.share:.2%}", str(count.images))
    return table


def _count(lines: tuple[str, ...], noun: str) -> str:
    return f"{len(lines)} {noun}{'' if len(lines) == 1 else 's'}"
