"""What the report says of each class: its groups, their prototypes at each scale, and who pushes it down."""

from __future__ import annotations

from dataclasses import dataclass

from scaleprotoseg.data.labels import Color
from scaleprotoseg.explanation.payload import unit_numbers
from scaleprotoseg.model.decomposition import Page
from scaleprotoseg.model.source import Source

NEGLIGIBLE = 0.01
"""Foreign weights smaller than this count as none."""

SHOWN_PUSHES = 5


@dataclass(frozen=True)
class Use:
    """A prototype in a unit.

    Attributes:
        prototype: Its index.
        weight: Its weight in the group; in a model without groups, its weight to its class.
        source: Its training patch, if known.
        also: Numbers of the other groups of the class that use it too.
    """

    prototype: int
    weight: float
    source: Source | None
    also: tuple[int, ...] = ()


@dataclass(frozen=True)
class Row:
    """A group, or all prototypes of a class in a model without groups.

    Attributes:
        number: The group's number within the class; None without groups.
        weight: The group's weight to its own class; None without groups.
        scales: For every scale the prototypes used, largest weight first.
    """

    number: int | None
    weight: float | None
    scales: tuple[tuple[Use, ...], ...]


@dataclass(frozen=True)
class Push:
    """A unit of another class with a weight to this one.

    Attributes:
        unit: What to call the unit.
        index: Its class.
        weight: The weight.
    """

    unit: str
    index: int
    weight: float


@dataclass(frozen=True)
class ClassCard:
    """One class of the model.

    Attributes:
        index: Train id.
        name: Class name.
        color: Class colour.
        rows: Its groups.
        pushes: The strongest weights from units of other classes.
        foreign: How many units other classes have.
        negligible: How many of those have next to no weight to this class.
    """

    index: int
    name: str
    color: Color
    rows: tuple[Row, ...]
    pushes: tuple[Push, ...]
    foreign: int
    negligible: int


def class_cards(page: Page) -> list[ClassCard]:
    """One card a class, from any page of the model."""
    return [class_card(page, index) for index in range(len(page.labels))]


def class_card(page: Page, index: int) -> ClassCard:
    """The card of the class with train id ``index``, from any page of the model."""
    numbers, weights = unit_numbers(page), page.classifier[index]
    own = page.unit_class == index
    foreign = (~own).nonzero().flatten().tolist()
    pushes = [
        Push(
            f"group {numbers[unit]}" if page.grouped else f"prototype #{unit}",
            int(page.unit_class[unit]),
            float(weights[unit]),
        )
        for unit in foreign
        if abs(weights[unit]) >= NEGLIGIBLE
    ]
    units = own.nonzero().flatten().tolist()
    rows = [_group_row(page, unit, numbers) for unit in units] if page.grouped else [_prototype_row(page, index, units)]
    return ClassCard(
        index,
        page.labels.names[index],
        page.labels.colors[index],
        tuple(rows),
        tuple(sorted(pushes, key=lambda push: -abs(push.weight))[:SHOWN_PUSHES]),
        len(foreign),
        len(foreign) - len(pushes),
    )


def _group_row(page: Page, unit: int, numbers: list[int]) -> Row:
    uses = []
    for prototype in page.weights[unit].nonzero().flatten().tolist():
        sharing = page.weights[:, prototype].nonzero().flatten().tolist()
        also = tuple(numbers[other] for other in sharing if other != unit)
        uses.append(Use(prototype, float(page.weights[unit, prototype]), page.sources[prototype], also))
    return Row(numbers[unit], float(page.classifier[int(page.unit_class[unit]), unit]), _by_scale(page, uses))


def _prototype_row(page: Page, index: int, units: list[int]) -> Row:
    uses = [Use(unit, float(page.classifier[index, unit]), page.sources[unit]) for unit in units]
    return Row(None, None, _by_scale(page, uses))


def _by_scale(page: Page, uses: list[Use]) -> tuple[tuple[Use, ...], ...]:
    count = int(page.prototype_scale.max()) + 1 if len(page.prototype_scale) else 0
    ordered = sorted(uses, key=lambda use: -use.weight)
    return tuple(
        tuple(use for use in ordered if int(page.prototype_scale[use.prototype]) == scale) for scale in range(count)
    )
