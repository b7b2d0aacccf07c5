"""Recipes: everything a training depends on, as one typed value that is read from YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.config import NetworkConfig

PARTS = ("encoder", "pyramid", "prototypes", "classifier", "groups")
"""What a phase can train: ``prototypes`` are the vectors, ``classifier`` is W (later V), ``groups`` is A."""


@dataclass(frozen=True)
class DataConfig:
    """What is trained on, and how it is varied.

    Attributes:
        name: A known data set, or the path of a folder with images/ and masks/.
        root: Folder of a known data set.
        crop: (height, width) of training crops, after the picture was resized to ``network.input.size``.
        scale: Smallest and largest random factor before cropping.
        batch_size: Pictures per step and device.
        accumulate: Batches per optimizer step.
        workers: Processes that read pictures; 0 reads in the training process.
    """

    name: str = "scenes"
    root: Path | None = None
    crop: tuple[int, int] = (513, 513)
    scale: tuple[float, float] = (0.5, 1.5)
    batch_size: int = 2
    accumulate: int = 5
    workers: int = 0

    def __post_init__(self) -> None:
        _positive("data.batch_size", self.batch_size)
        _positive("data.accumulate", self.accumulate)
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(f"recipe: data.scale is {list(self.scale)}; give 0 < smallest <= largest")
        if min(self.crop) < 1:
            raise UserError(f"recipe: data.crop is {list(self.crop)}; give a height and a width of at least 1")


@dataclass(frozen=True)
class LossConfig:
    """How the segmentation loss counts pixels.

    Attributes:
        class_balance: 0 weighs all pixels alike, 1 weighs all classes alike, between lifts rare classes.
        supervision: ``cells`` compares at feature resolution (the paper's way), ``pixels`` upsamples the logits to the
            picture first.
    """

    class_balance: float = 0.0
    supervision: Literal["cells", "pixels"] = "cells"


@dataclass(frozen=True)
class Phase:
    """One step of the curriculum.

    Attributes:
        do: ``fit`` trains; ``project`` turns prototypes into training patches; ``group`` puts groups in the
            classifier's place; ``prune`` drops small group weights and unused prototypes.
        steps: Optimizer steps of a fit.
        learning_rates: What a fit trains, and how fast: part to Adam's learning rate.
        decay: ``poly`` lowers the rates as (1 - step / steps) ** 0.9.
        weight_decay: Of encoder and pyramid; prototypes, classifier and groups have none.
        encoder_norm: Whether the encoder's batch norm stays as it is or learns too.
        diversity: Weight of the diversity loss.
        foreign_l1: Weight of the L1 norm of foreign classifier weights.
        group_entropy: Weight of the groups' entropy.
        groups: Groups per class, for ``group``.
        threshold: Smallest group weight that stays, for ``prune``.
    """

    do: Literal["fit", "project", "group", "prune"] = "fit"
    steps: int = 0
    learning_rates: dict[str, float] = field(default_factory=dict)
    decay: Literal["constant", "poly"] = "constant"
    weight_decay: float = 0.0
    encoder_norm: Literal["frozen", "free"] = "frozen"
    diversity: float = 0.0
    foreign_l1: float = 0.0
    group_entropy: float = 0.0
    groups: int = 3
    threshold: float = 0.05


@dataclass(frozen=True)
class Recipe:
    """A whole training.

    Attributes:
        method: What the result is called: ``deeplabv2``, ``protoseg``, ``scaleprotoseg`` or a name of your own.
        data: The pictures.
        network: The parts.
        loss: How pixels count.
        phases: The curriculum, in order.
        warm_start: A bundle whose encoder the training starts from, such as a black box trained first.
        seed: Of all random numbers.
        precision: ``auto`` takes bfloat16 where the machine is faster with it.
    """

    method: str
    data: DataConfig
    network: NetworkConfig
    phases: dict[str, Phase]
    loss: LossConfig = field(default_factory=LossConfig)
    warm_start: str | None = None
    seed: int = 0
    precision: Literal["auto", "32", "bf16"] = "auto"

    def __post_init__(self) -> None:
        has_prototypes, grouped = self.network.head.kind == "prototypes", False
        for name, phase in self.phases.items():
            where = f"recipe: phases.{name}"
            if phase.do != "fit" and not has_prototypes:
                raise UserError(f"{where}: cannot {phase.do}, the head has no prototypes; set network.head.kind")
            if phase.do == "fit":
                self._check_fit(where, phase, has_prototypes, grouped)
            if phase.do in ("group", "project") and grouped:
                raise UserError(f"{where}: cannot {phase.do} after grouping; move it before the group phase")
            if phase.do == "group":
                _positive(f"phases.{name}.groups", phase.groups)
                grouped = True
            if phase.do == "prune" and not grouped:
                raise UserError(f"{where}: nothing to prune before grouping; put a phase with 'do: group' first")
        trained = any("encoder" in phase.learning_rates for phase in self.phases.values())
        if not (trained or self.network.encoder.pretrained or self.warm_start):
            raise UserError(
                "recipe: the encoder starts from random weights and no phase trains it; name a model in warm_start, "
                "set network.encoder.pretrained, or give it a learning rate in a phase"
            )

    def _check_fit(self, where: str, phase: Phase, has_prototypes: bool, grouped: bool) -> None:
        _positive(f"{where.removeprefix('recipe: ')}.steps", phase.steps)
        parts = {"encoder", "pyramid"}
        if has_prototypes:
            parts |= {"prototypes", "classifier"}
        if grouped:
            parts |= {"groups"}
        if self.network.head.kind == "linear":
            parts |= {"classifier"}
        wrong = sorted(set(phase.learning_rates) - parts)
        if wrong or not phase.learning_rates:
            what = f"cannot train {wrong[0]!r}" if wrong else "trains nothing"
            raise UserError(f"{where}: {what}; learning_rates may name {', '.join(p for p in PARTS if p in parts)}")


def _positive(key: str, value: int) -> None:
    if value < 1:
        raise UserError(f"recipe: {key} is {value}; give at least 1")
