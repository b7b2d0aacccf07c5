"""The recipe: everything that a training depends on, as one typed value that is read from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeAlias, Union

from scaleprotoseg.errors import UserError
from scaleprotoseg.training.config import TrainingConfig
from scaleprotoseg.training.phases import PHASES
from scaleprotoseg.training.phases.base import Phase, Place

KINDS: dict[str, type[Phase]] = {do: resolve_name(path) for do, path in PHASES.items()}
"""Classes of phases by the value of ``do``."""

# Built from the table, so that a new kind is one line there; jsonargparse chooses the class whose ``do`` matches.
AnyPhase: TypeAlias = Union[tuple(KINDS.values())]  # type: ignore[valid-type]  # noqa: UP007


@dataclass(frozen=True, kw_only=True)
class Recipe(TrainingConfig):
    """All keys of a recipe.

    Attributes:
        phases: Phases by name, in order.
    """

    phases: dict[str, AnyPhase]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.phases:
            raise UserError("recipe: phases is empty; give at least one phase")
        for index, phase in enumerate(self.phases.values()):
            phase.check(Place(self, self.phases, index))
        trained = any("encoder" in phase.trains for phase in self.phases.values())
        if not (trained or self.network.encoder.pretrained or self.warm_start):
            raise UserError(
                "recipe: the encoder starts from random weights and no phase trains it; name a model in warm_start, "
                "set network.encoder.pretrained, or give the encoder a learning rate in a phase"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain values, in the order in which a recipe file lists them."""
        values = _plain(asdict(self))
        return {key: values[key] for key in ("method", "data", "network", "phases", *values)}


def only_own_keys(phase: Any) -> Any:
    """Drop the keys of other kinds of phases from a phase, if they have their default values.

    Earlier versions wrote the keys of all kinds of phases for every phase.

    Args:
        phase: A phase of a recipe, as plain values.

    >>> only_own_keys({"do": "project", "steps": 0})
    {'do': 'project'}
    """
    if not isinstance(phase, Mapping) or phase.get("do", "fit") not in KINDS:
        return phase
    kind = KINDS[phase.get("do", "fit")]
    own = {key.name for key in fields(kind)}
    return {key: value for key, value in phase.items() if key in own or value != _DEFAULTS.get(key, MISSING)}


def _plain(value: Any) -> Any:
    """Convert tuples and paths, at every depth, to values that YAML can represent."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


_DEFAULTS = {
    key: value
    for do, kind in KINDS.items()
    if do != "add-prototypes"  # Earlier versions did not have it.
    for key, value in _plain(asdict(kind())).items()
}
