"""The recipe: everything that a training depends on, as one typed value that is read from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeAlias, Union

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.config import NetworkConfig
from scaleprotoseg.training.config import DataConfig, LossConfig, StoreConfig, TrainingConfig
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
        encoder = self.network.encoder
        if self.warm_start and encoder.weights:
            raise UserError(
                f"recipe: the encoder starts both from warm_start ({self.warm_start}) and from network.encoder.weights "
                f"({encoder.weights}); leave one of them out"
            )
        if not (trained or encoder.pretrained or encoder.weights or self.warm_start):
            raise UserError(
                "recipe: the encoder starts from random weights and no phase trains it; name a model in warm_start or "
                "a file in network.encoder.weights, set network.encoder.pretrained, or train the encoder in a phase"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain values, in the order in which a recipe file lists them."""
        values = _plain(asdict(self))
        return {key: values[key] for key in ("method", "data", "network", "phases", *values)}


def with_own_keys(recipe: Any) -> Any:
    """Drop the keys of other kinds from the phases of a recipe, if they have their default values.

    Earlier versions wrote the keys of all kinds of phases for every phase.

    Args:
        recipe: A recipe as plain values. Anything that is no recipe is returned unchanged.

    >>> with_own_keys({"phases": {"projection": {"do": "project", "steps": 0}}})
    {'phases': {'projection': {'do': 'project'}}}
    """
    if not isinstance(recipe, Mapping) or not isinstance(recipe.get("phases"), Mapping):
        return recipe
    return {**recipe, "phases": {name: _own_keys(phase) for name, phase in recipe["phases"].items()}}


def with_new_keys(recipe: dict[str, Any]) -> dict[str, Any]:
    """Add the keys that a recipe lacks, with their default values; earlier versions did not know all keys.

    Args:
        recipe: A recipe as plain values.

    >>> with_new_keys({"seed": 3, "data": {"split": "val"}, "phases": {}})["data"]["batch_size"]
    2
    """
    defaults = {key.name: key.default for key in fields(TrainingConfig) if key.default is not MISSING}
    sections: dict[str, Any] = {
        "data": DataConfig(),
        "loss": LossConfig(),
        "store": StoreConfig(),
        "network": NetworkConfig(),
    }
    defaults |= {name: asdict(section) for name, section in sections.items()}
    defaults["phases"] = {name: asdict(KINDS[phase.get("do", "fit")]()) for name, phase in recipe["phases"].items()}
    merged: dict[str, Any] = _merged(_plain(defaults), recipe)
    return merged


def _merged(defaults: Any, given: Any) -> Any:
    if not isinstance(defaults, dict) or not isinstance(given, dict):
        return given
    return {key: _merged(defaults[key], value) if key in defaults else value for key, value in given.items()} | {
        key: value for key, value in defaults.items() if key not in given
    }


def _own_keys(phase: Any) -> Any:
    do = phase.get("do", "fit") if isinstance(phase, Mapping) else None
    if not isinstance(do, str) or do not in KINDS:
        return phase
    own = {key.name for key in fields(KINDS[do])}
    return {key: value for key, value in phase.items() if key in own or value != _DEFAULTS.get(key, MISSING)}


def _plain(value: Any) -> Any:
    """Convert tuples and paths, at every depth, to values that YAML can represent."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


_EARLIER_KINDS = ("fit", "project", "prune-by-neighbours", "prune-by-parts", "group", "prune", "frame")
"""Kinds of phases whose keys earlier versions wrote for every phase."""

_DEFAULTS = {key: value for do in _EARLIER_KINDS for key, value in _plain(asdict(KINDS[do]())).items()}
