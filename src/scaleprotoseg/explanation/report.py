"""The report on a model: how good it is, what it knows, and how it decides on a few pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from scaleprotoseg.data.dataset import Sample
from scaleprotoseg.data.labels import VOID
from scaleprotoseg.evaluation.sparsity import sparsity
from scaleprotoseg.explanation.cards import class_cards
from scaleprotoseg.explanation.figures import classes_uri, errors_uri, photo_uri
from scaleprotoseg.explanation.html import write_html
from scaleprotoseg.explanation.payload import Picture, reaches, unit_numbers
from scaleprotoseg.model.decomposition import Group, Member, Page, Why
from scaleprotoseg.model.inference import class_map, logits_of
from scaleprotoseg.model.network import Network

BLANK = Image.new("RGB", (64, 64))
"""Explained when there is no example, for the model's parts alone."""

MAP_BYTES = 16 * 2**20
"""Room for the maps of the examples; those that no longer fit are shown without explanation. One always fits."""

FIRED_SHARE = 0.002
"""Activation maps are drawn for classes that cover at least this share of the truth or of the prediction."""


@dataclass(frozen=True)
class UnitMap:
    """A group whose activation map is drawn in an example.

    Attributes:
        unit: Its index.
        number: Its number within the class.
    """

    unit: int
    number: int


@dataclass(frozen=True)
class WorkedExample:
    """One decision in full numbers.

    Attributes:
        picture: Position of the picture among the explained ones.
        why: The decision.
        best: The group that speaks most for its class.
        number: That group's number within its class.
        likened: The prototypes the pixel is likened to: the group's; without groups, all that speak for the class.
    """

    picture: int
    why: Why
    best: Group
    number: int
    likened: tuple[Member, ...]


@dataclass(frozen=True)
class Example:
    """A validation picture in the report.

    Attributes:
        name: Name of the sample.
        picture: Its position among the explained pictures of the page; None if it is not explained.
        photo: The picture, a data URI; None if it is explained, for the page then holds it already.
        size: (width, height).
        prediction: Class colours, a data URI.
        truth: Class colours, a data URI; None without labels.
        errors: Where the two disagree, a data URI; None without labels.
        accuracy: Share of labelled pixels that are right, 0-1; None without labels.
        maps: For every class present, its train id and units, most of the picture first.
    """

    name: str
    picture: int | None
    photo: str | None
    size: tuple[int, int]
    prediction: str
    truth: str | None
    errors: str | None
    accuracy: float | None
    maps: tuple[tuple[int, tuple[UnitMap, ...]], ...]


def write_report(network: Network, path: Path, metrics: dict[str, Any] | None, examples: Sequence[Sample]) -> None:
    """Writes the report on a model as one self-contained HTML file.

    Args:
        network: In eval mode; with or without prototypes.
        path: The file to write; an existing one is replaced in one move.
        metrics: What ``metrics.json`` holds; whatever is missing or None is shown as not measured.
        examples: A few pictures to explain, with or without labels.

    Raises:
        UserError: If the file cannot be written.
    """
    pictures: list[Picture] = []
    shown = [_example(network, sample, pictures) for sample in examples]
    model = pictures[0].page if pictures else network.explain(BLANK) if network.prototypes is not None else None
    write_html(
        path,
        "report.html.j2",
        model,
        pictures,
        labels=network.labels,
        method=network.method,
        scale_count=network.pyramid.num_scales,
        metrics=metrics or {},
        overlap=list(_leaves((metrics or {}).get("overlap"))),
        sparsity=_counts(network, metrics or {}),
        cards=[] if model is None else class_cards(model),
        reads=[] if model is None else _reads(model, bool(pictures)),
        worked=_worked_example(pictures),
        examples=shown,
    )


def _counts(network: Network, metrics: dict[str, Any]) -> dict[str, Any]:
    """Counts of prototypes and members: as measured, else as the model is."""
    measured = metrics.get("sparsity") or {}
    return asdict(sparsity(network)) | {name: value for name, value in measured.items() if value is not None}


def _leaves(values: Any, name: str = "") -> Iterator[tuple[str, float | None]]:
    """The numbers in nested mappings, each with the names that lead to it."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _leaves(value, f"{name}, {key}".strip(", "))
    elif name and (values is None or isinstance(values, (int, float))):
        yield name.replace("_", " "), values


def _reads(model: Page, example: bool) -> list[int | None]:
    """How many pixels of a picture each scale reads, where known."""
    pixels = model.image.width / model.logits.shape[-1]
    return [round((2 * reach + 1) * pixels) if example and reach is not None else None for reach in reaches(model)]


def _worked_example(pictures: list[Picture]) -> WorkedExample | None:
    """The first picture at whose first pixel a group of the winning class speaks for it."""
    for index, picture in enumerate(pictures):
        page = picture.page
        why = page.at(picture.start.x, picture.start.y)
        own = [group for group in why.groups if group.class_name == why.class_name and group.contribution > 0]
        if own:
            likened = own[0].members if page.grouped else tuple(member for group in own for member in group.members)
            return WorkedExample(index, why, own[0], unit_numbers(page)[own[0].index], likened)
    return None


def _example(network: Network, sample: Sample, pictures: list[Picture]) -> Example:
    """Predicts a sample and, as long as there is room for its maps, adds it to the explained pictures."""
    picture = None
    if network.prototypes is not None:
        picture = Picture.of(network.explain(sample.pixels), sample.name)
        if not pictures or sum(other.map_bytes for other in pictures) + picture.map_bytes <= MAP_BYTES:
            pictures.append(picture)
        else:
            picture = None
    size, mask, labels = sample.image.size, sample.mask, network.labels
    prediction = class_map(logits_of(network, sample.pixels), *size) if picture is None else picture.prediction
    labelled = np.zeros_like(prediction, dtype=bool) if mask is None else mask != VOID
    return Example(
        name=sample.name,
        picture=None if picture is None else len(pictures) - 1,
        photo=photo_uri(sample.image) if picture is None else None,
        size=size,
        prediction=classes_uri(prediction, labels),
        truth=None if mask is None else classes_uri(mask, labels),
        errors=None if mask is None else errors_uri(prediction, mask),
        accuracy=float((prediction == mask)[labelled].mean()) if labelled.any() else None,
        maps=() if picture is None else tuple(_unit_maps(picture, mask)),
    )


def _unit_maps(picture: Picture, mask: npt.NDArray[np.uint8] | None) -> Iterator[tuple[int, tuple[UnitMap, ...]]]:
    """The units of the classes present in the prediction or the truth, most of the picture first."""
    page, present = picture.page, [picture.prediction] if mask is None else [picture.prediction, mask]
    shares = np.max([np.bincount(classes.ravel(), minlength=256) / classes.size for classes in present], axis=0)
    numbers = unit_numbers(page)
    for index in np.argsort(-shares[: len(page.labels)], kind="stable").tolist():
        if shares[index] >= FIRED_SHARE:
            units = (page.unit_class == index).nonzero().flatten().tolist()
            yield index, tuple(UnitMap(unit, numbers[unit]) for unit in units)
