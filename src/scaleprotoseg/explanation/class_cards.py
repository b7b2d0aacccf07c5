"""The class cards of the report: groups of a class, their prototypes at each scale, and weights from other classes."""

from __future__ import annotations

from dataclasses import dataclass

from scaleprotoseg.data.labels import Color
from scaleprotoseg.explanation.decomposition import Decomposition
from scaleprotoseg.model.source import Source

NEGLIGIBLE = 0.01
"""Weights from units of other classes with a smaller absolute value than this count as zero."""

SHOWN_FOREIGN = 5
"""Largest number of weights from units of other classes on a card."""


@dataclass(frozen=True)
class PrototypeUse:
    """A prototype in a unit.

    Attributes:
        prototype: Index of the prototype.
        weight: Its weight in the group; in a model without groups, its weight for the class.
        source: Its source; None if unknown.
        also_in: Numbers of the other groups of the class that contain it.
    """

    prototype: int
    weight: float
    source: Source | None
    also_in: tuple[int, ...] = ()


@dataclass(frozen=True)
class CardRow:
    """A group, or all prototypes of a class in a model without groups.

    Attributes:
        number: Number of the group within its class; None without groups.
        weight: Weight of the group for its own class; None without groups.
        scales: For each scale, the prototypes used, largest weight first.
    """

    number: int | None
    weight: float | None
    scales: tuple[tuple[PrototypeUse, ...], ...]


@dataclass(frozen=True)
class ForeignWeight:
    """The weight of another class's unit for this class.

    Attributes:
        unit: Name of the unit within its class.
        index: Train id of the unit's class.
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
        color: Class color.
        rows: Its groups.
        foreign: The weights from units of other classes with the largest absolute values.
        foreign_units: Number of units of other classes.
        negligible: Number of those whose weight is negligible.
    """

    index: int
    name: str
    color: Color
    rows: tuple[CardRow, ...]
    foreign: tuple[ForeignWeight, ...]
    foreign_units: int
    negligible: int


def class_cards(model: Decomposition) -> list[ClassCard]:
    """Return one card per class, from the decomposition of any image."""
    return [class_card(model, index) for index in range(len(model.labels))]


def class_card(model: Decomposition, index: int) -> ClassCard:
    """Return the card of the class with train id ``index``, from the decomposition of any image."""
    own = model.unit_class == index
    units = own.nonzero().flatten().tolist()
    others = (~own).nonzero().flatten().tolist()
    foreign = _foreign_weights(model, index, others)
    return ClassCard(
        index=index,
        name=model.labels.names[index],
        color=model.labels.colors[index],
        rows=tuple(_group_row(model, unit) for unit in units) if model.grouped else (_prototype_row(model, units),),
        foreign=tuple(foreign[:SHOWN_FOREIGN]),
        foreign_units=len(others),
        negligible=len(others) - len(foreign),
    )


def _foreign_weights(model: Decomposition, index: int, units: list[int]) -> list[ForeignWeight]:
    """Return the weights of units for a class that are not negligible, largest absolute value first."""
    weights = [
        ForeignWeight(model.unit_name(unit), int(model.unit_class[unit]), float(model.classifier[index, unit]))
        for unit in units
        if abs(model.classifier[index, unit]) >= NEGLIGIBLE
    ]
    return sorted(weights, key=lambda foreign: -abs(foreign.weight))


def _group_row(model: Decomposition, unit: int) -> CardRow:
    uses = []
    for prototype in model.weights[unit].nonzero().flatten().tolist():
        sharing = model.weights[:, prototype].nonzero().flatten().tolist()
        also_in = tuple(model.unit_numbers[other] for other in sharing if other != unit)
        uses.append(PrototypeUse(prototype, float(model.weights[unit, prototype]), model.sources[prototype], also_in))
    weight = float(model.classifier[int(model.unit_class[unit]), unit])
    return CardRow(model.unit_numbers[unit], weight, _by_scale(model, uses))


def _prototype_row(model: Decomposition, units: list[int]) -> CardRow:
    uses = [
        PrototypeUse(unit, float(model.classifier[int(model.unit_class[unit]), unit]), model.sources[unit])
        for unit in units
    ]
    return CardRow(None, None, _by_scale(model, uses))


def _by_scale(model: Decomposition, uses: list[PrototypeUse]) -> tuple[tuple[PrototypeUse, ...], ...]:
    count = int(model.prototype_scale.max()) + 1 if len(model.prototype_scale) else 0
    ordered = sorted(uses, key=lambda use: -use.weight)
    return tuple(
        tuple(use for use in ordered if int(model.prototype_scale[use.prototype]) == scale) for scale in range(count)
    )
