"""Recipes: everything a training depends on, as one typed value that is read from YAML."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.config import NetworkConfig, at_least_one

PARTS = ("encoder", "pyramid", "prototypes", "classifier", "groups")
"""What a phase can train: ``prototypes`` are the vectors, ``classifier`` is W (later V), ``groups`` is A."""

BENEATH_SOURCES = ("encoder", "pyramid", "prototypes")
"""Parts that stand still once prototypes are training patches, for they would be these patches no longer."""


@dataclass(frozen=True)
class DataConfig:
    """What is trained on, and how it is varied.

    Attributes:
        name: A known data set, or the path of a folder with images/ and masks/.
        root: Folder of a known data set.
        split: The split that is trained on; ``val`` is measured on.
        parts: Where part labels lie, if they lie apart: a folder of Panoptic Parts, or a keypoints file.
        crop: (height, width) of training crops, after the picture was resized to ``network.input.size``.
        scale: Smallest and largest random factor before cropping.
        batch_size: Pictures per step, shared by all devices.
        accumulate: Batches per optimizer step.
        workers: Processes that read pictures; 0 reads in the training process.
    """

    name: str = "scenes"
    root: Path | None = None
    split: str = "train"
    parts: Path | None = None
    crop: tuple[int, int] = (513, 513)
    scale: tuple[float, float] = (0.5, 1.5)
    batch_size: int = 2
    accumulate: int = 5
    workers: int = 0

    def __post_init__(self) -> None:
        at_least_one("data.batch_size", self.batch_size)
        at_least_one("data.accumulate", self.accumulate)
        if self.workers < 0:
            raise UserError(f"data.workers is {self.workers}; give 0 or more")
        if not 0 < self.scale[0] <= self.scale[1] < math.inf:
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

    def __post_init__(self) -> None:
        if not 0 <= self.class_balance <= 1:
            raise UserError(f"loss.class_balance is {self.class_balance}; give 0 to 1")


@dataclass(frozen=True)
class StoreConfig:
    """How phases in which the encoder stands still keep what it would compute again.

    Attributes:
        views: Augmented views of each picture that such phases train on, read by the frozen parts once; 0 draws a new
            view every time and reads it anew (the paper's way).
        gib: Disk the views may take; fewer are kept where they would take more.
    """

    views: int = 0
    gib: float = 8.0

    def __post_init__(self) -> None:
        if self.views < 0 or not self.gib > 0:
            raise UserError(
                f"recipe: store is {self.views} views in {self.gib} GiB; give 0 or more views, and some disk"
            )


@dataclass(frozen=True)
class Phase:
    """One step of the curriculum.

    Attributes:
        do: ``fit`` trains; ``project`` turns prototypes into training patches; ``prune-by-neighbours`` drops
            prototypes whose surroundings are of other classes; ``prune-by-parts`` drops those that do not always point
            at the same part of their class, which takes part labels of the training pictures; ``group`` puts groups in
            the classifier's place; ``prune`` drops small group weights and unused prototypes; ``frame`` finds how much
            of a picture must be shown for a cell.
        steps: Optimizer steps of a fit.
        learning_rates: What a fit trains, and how fast: part to Adam's learning rate.
        decay: ``poly`` lowers the rates as (1 - step / steps) ** 0.9.
        weight_decay: Of encoder and pyramid; prototypes, classifier and groups have none.
        encoder_norm: Whether the encoder's batch norm stays as it is or learns too.
        tied: Prototypes that are training patches stay these patches while the pyramid learns: they are read from them
            anew in every step, so that what projection took can be won back.
        diversity: Weight of the diversity loss.
        invariance: Weight of the loss that lets noise change nothing about where prototypes point.
        redundancy: Weight of the loss that keeps prototypes of one class and scale from pointing at the same place.
        pointing: Weight of the loss that lets the prototypes of a class and scale each point at another of its parts,
            which takes part labels of the training pictures.
        noise: Deviation of that noise, on the normalised picture. Above 0, every picture has a noisy twin, which is
            also segmented.
        distillation: Weight of the divergence from a teacher, whose logits are learnt from as well.
        teacher: The network as it was after this earlier phase; the model in ``warm_start`` if empty.
        foreign_l1: Weight of the L1 norm of foreign classifier weights.
        group_entropy: Weight of the groups' entropy.
        neighbours: Nearest training patches that are looked at, for ``prune-by-neighbours``.
        agreeing: How many of them must be of the prototype's class.
        agreement: A prototype stays if it hits one part, without and with noise, in more than this share of the
            pictures that show the part, for ``prune-by-parts``.
        groups: Groups per class, for ``group``.
        threshold: Smallest group weight that stays, for ``prune``.
        inside: Share of a similarity that must be left when all but what is shown is masked, for ``frame``.
    """

    do: Literal["fit", "project", "prune-by-neighbours", "prune-by-parts", "group", "prune", "frame"] = "fit"
    steps: int = 0
    learning_rates: dict[str, float] = field(default_factory=dict)
    decay: Literal["constant", "poly"] = "constant"
    weight_decay: float = 0.0
    encoder_norm: Literal["frozen", "free"] = "frozen"
    tied: bool = False
    diversity: float = 0.0
    invariance: float = 0.0
    redundancy: float = 0.0
    pointing: float = 0.0
    noise: float = 0.0
    distillation: float = 0.0
    teacher: str = ""
    foreign_l1: float = 0.0
    group_entropy: float = 0.0
    neighbours: int = 6
    agreeing: int = 3
    agreement: float = 0.8
    groups: int = 3
    threshold: float = 0.05
    inside: float = 0.96

    @property
    def needs_parts(self) -> bool:
        """Whether part labels of the training pictures are looked at."""
        return self.pointing > 0 or self.do == "prune-by-parts"


READ: dict[str, tuple[str, ...]] = {
    "project": (),
    "prune-by-neighbours": ("neighbours", "agreeing"),
    "prune-by-parts": ("agreement",),
    "group": ("groups",),
    "prune": ("threshold",),
    "frame": ("inside",),
}
"""The keys that each phase reads; a fit all that no other does."""
READ["fit"] = tuple(
    key.name for key in fields(Phase) if key.name != "do" and not any(key.name in keys for keys in READ.values())
)

WEIGHTS = ("diversity", "invariance", "redundancy", "pointing", "distillation", "foreign_l1", "group_entropy")
"""Of the losses of a fit, after what each is the weight of."""


@dataclass(frozen=True)
class Recipe:
    """A whole training.

    Attributes:
        method: What the result is called: ``deeplabv2``, ``protoseg``, ``scaleprotoseg`` or a name of your own.
        data: The pictures.
        network: The parts.
        loss: How pixels count.
        store: What phases with a frozen encoder compute only once.
        phases: The curriculum, in order.
        warm_start: What the encoder starts from: a bundle, such as a black box trained first, or a ``.pth`` file of
            weights: DeepLab's for ``caffe_resnet101``, torchvision's for an encoder of its segmentation models.
        seed: Of all random numbers.
        precision: ``auto`` takes bfloat16 where the machine is faster with it.
    """

    method: str
    data: DataConfig
    network: NetworkConfig
    phases: dict[str, Phase]
    loss: LossConfig = field(default_factory=LossConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    warm_start: str | None = None
    seed: int = 0
    precision: Literal["auto", "32", "bf16"] = "auto"

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"seed is {self.seed}; give 0 or more")
        if not self.phases:
            raise UserError("recipe: phases is empty; name at least one")
        trained = any("encoder" in phase.learning_rates for phase in self.phases.values())
        done: list[str] = [phase.do for phase in self.phases.values()]
        for position, (name, phase) in enumerate(self.phases.items()):
            self._check_phase(f"phases.{name}", phase, before=done[:position], after=done[position + 1 :])
        if not (trained or self.network.encoder.pretrained or self.warm_start):
            raise UserError(
                "recipe: the encoder starts from random weights and no phase trains it; name a model in warm_start, "
                "set network.encoder.pretrained, or give it a learning rate in a phase"
            )

    def _check_phase(self, where: str, phase: Phase, before: list[str], after: list[str]) -> None:
        """Whether a phase fits the head and what is done before and after it."""
        unread, default = (key for do, keys in READ.items() if do != phase.do for key in keys), Phase()
        for key in unread:
            if getattr(phase, key) != getattr(default, key):
                raise UserError(f"{where}: 'do: {phase.do}' does not read {key}; leave it out")
        if phase.do == "fit":
            self._check_fit(where, phase, before, after)
        elif self.network.head.kind != "prototypes":
            raise UserError(f"{where}: cannot {phase.do}, the head has no prototypes; set network.head.kind")
        if phase.do in ("group", "project", "prune-by-neighbours") and "group" in before:
            raise UserError(f"{where}: cannot {phase.do} after grouping; move it before the group phase")
        if phase.do == "prune-by-neighbours" and not 1 <= phase.agreeing <= phase.neighbours:
            raise UserError(
                f"{where}: {phase.agreeing} of {phase.neighbours} neighbours cannot agree; give 1 <= agreeing <= all"
            )
        if phase.do == "prune-by-parts" and not 0 <= phase.agreement < 1:
            raise UserError(f"{where}: agreement is {phase.agreement}, a share of pictures; give 0 <= agreement < 1")
        if phase.do == "frame" and ("project" not in before or not 0 < phase.inside < 1):
            raise UserError(f"{where}: frames show training patches; project before, and give inside between 0 and 1")
        if phase.do == "group":
            at_least_one(f"{where}.groups", phase.groups)
        if phase.do == "prune" and not 0 <= phase.threshold <= 1:
            raise UserError(f"{where}: threshold is {phase.threshold}, a group's weights add up to 1; give 0 to 1")
        if phase.do == "prune" and "group" not in before:
            raise UserError(f"{where}: nothing to prune before grouping; put a phase with 'do: group' first")

    def _check_fit(self, where: str, phase: Phase, before: list[str], after: list[str]) -> None:
        at_least_one(f"{where}.steps", phase.steps)
        kind = self.network.head.kind
        prototypes, groups = kind == "prototypes", "group" in before
        parts = {"encoder", "pyramid"}
        parts |= {"prototypes"} if prototypes else set()
        parts |= {"classifier"} if kind != "direct" else set()
        parts |= {"groups"} if groups else set()
        wrong = sorted(set(phase.learning_rates) - parts)
        if wrong or not phase.learning_rates:
            what = (
                f"cannot train {wrong[0]!r}" if wrong else f"trains nothing (the phases are {', '.join(self.phases)})"
            )
            raise UserError(f"{where}: {what}; learning_rates may name {', '.join(p for p in PARTS if p in parts)}")
        for part, rate in phase.learning_rates.items():
            if not 0 < rate < math.inf:
                raise UserError(f"{where}: the learning rate of {part} is {rate}; give more than 0, or leave it out")
        for key in ("weight_decay", "noise", *WEIGHTS):
            if not 0 <= getattr(phase, key) < math.inf:
                raise UserError(f"{where}: {key} is {getattr(phase, key)}; give 0 or more")
        losses = dict.fromkeys(WEIGHTS, prototypes) | {"distillation": True, "group_entropy": groups}
        for loss, possible in losses.items():
            if getattr(phase, loss) and not possible:
                missing = "groups yet" if loss == "group_entropy" else "prototypes"
                raise UserError(f"{where}: {loss} does not apply, the head has no {missing}; leave it out")
        if (phase.invariance or phase.redundancy) and phase.noise <= 0:
            raise UserError(f"{where}: invariance and redundancy are about a picture's noisy twin; give noise")
        if phase.distillation and not phase.teacher and self.warm_start is None:
            raise UserError(f"{where}: distillation needs a model to learn from; give its folder as warm_start")
        if phase.teacher and not phase.distillation:
            raise UserError(f"{where}: has a teacher, but distillation is 0; leave it out")
        if phase.teacher and phase.teacher not in list(self.phases)[: len(before)]:
            raise UserError(f"{where}: its teacher {phase.teacher!r} is no earlier phase; name one, or leave it out")
        moved = [part for part in BENEATH_SOURCES if part in phase.learning_rates]
        if phase.pointing and not moved:
            raise UserError(f"{where}: pointing is about prototypes that move, and nothing moves them; leave it out")
        if phase.tied:
            if "project" not in before or moved != ["pyramid"] or self.network.input.scales:
                raise UserError(
                    f"{where}: tied prototypes are training patches that a moving pyramid reads; project before, train "
                    "the pyramid but neither encoder nor prototypes, and leave network.input.scales empty"
                )
            return
        if moved and "project" in before and (groups or "project" not in after):
            raise UserError(
                f"{where}: training {moved[0]} after projection moves prototypes off their training patches; "
                "leave it out, project again before grouping, or set tied"
            )
