"""The sanity check of a recipe: a few steps of every phase, and what the whole training would need."""

from __future__ import annotations

import logging
import resource
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from scaleprotoseg.data.dataset import Sample, SegmentationDataset
from scaleprotoseg.data.registry import READERS, open_dataset
from scaleprotoseg.errors import UserError
from scaleprotoseg.evaluation.metrics import measure
from scaleprotoseg.model.evidence import choose_pictures
from scaleprotoseg.model.inference import fastest_device
from scaleprotoseg.model.network import Network
from scaleprotoseg.training.curriculum import STORE, require_parts, run_phases
from scaleprotoseg.training.frame import PICTURES as FRAMED
from scaleprotoseg.training.pointing import showing_parts
from scaleprotoseg.training.recipe import Recipe

log = logging.getLogger(__name__)
console = Console()

STEPS = 2
"""Steps of every fit; the last is timed."""

PICTURES = 2
"""Pictures that are trained on, projected onto and measured."""

SHORT: dict[str, dict[str, Any]] = {
    "fit": {"steps": STEPS, "distillation": 0.0, "teacher": ""},
    "prune-by-neighbours": {"agreeing": 1},
}
"""How phases are cut: among so few pictures, one neighbour must be enough."""

SEARCHES = ("project", "prune-by-neighbours")
"""Phases that read every picture once, as measuring does, and then write patches."""


@dataclass
class PhaseCost:
    """What was seen of a phase.

    Attributes:
        step: Seconds of a batch, of a fit.
        flop: Floating-point operations of a batch, of a fit.
        look: Seconds until the first batch of a fit that looks at all pictures before.
        stored: Bytes of what stands still, of a fit that keeps it.
        seconds: Seconds of the whole phase, as short as it was.
    """

    step: float = 0.0
    flop: int = 0
    look: float = 0.0
    stored: int = 0
    seconds: float = 0.0


class Stopwatch(Callback):
    """Times the last batch of a fit and what is done before the first, whose operations it counts."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A phase begins."""
        self.cost = PhaseCost()
        self.phase_begun = time.perf_counter()

    def setup(self, *_: Any, **__: Any) -> None:
        """All is prepared."""
        self.cost.look = time.perf_counter() - self.phase_begun

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Starts to count or to time."""
        self.counting = ExitStack()
        if batch_idx == 0:
            self.counter = self.counting.enter_context(FlopCounterMode(display=False))
        self.begun = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Ends it."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.cost.step = time.perf_counter() - self.begun
        self.counting.close()
        self.cost.flop = self.counter.get_total_flops()


class First(SegmentationDataset):
    """The first pictures of a data set.

    Args:
        dataset: Labelled pictures.
        count: How many, at most.
        with_parts: Whether they are to show parts.
    """

    def __init__(self, dataset: SegmentationDataset, count: int, with_parts: bool) -> None:
        self.name, self.split, self.labels, self.parts = dataset.name, dataset.split, dataset.labels, dataset.parts
        fit = showing_parts(dataset) if with_parts else range(len(dataset))
        self._dataset, self._indices = dataset, list(islice(fit, count))

    @property
    def sample_names(self) -> list[str]:
        """Their names."""
        return [self._dataset.sample_names[index] for index in self._indices]

    def __getitem__(self, index: int) -> Sample:
        """Reads one."""
        return self._dataset[self._indices[index]]


def sanity_check(recipe: Recipe) -> None:
    """Runs every phase of a recipe for a few steps in a temporary folder, and prints what a whole run would need.

    Takes the training split or, where that is not on disk, the validation split. Pretrained weights and a warm start
    are left out: they change nothing about time and memory, but for what it takes to learn from a model. Reading
    pictures from disk is not timed.

    Args:
        recipe: The training.

    Raises:
        UserError: If neither split can be opened, or the recipe does not work.
    """
    dataset = _any_split(recipe)
    require_parts(recipe, dataset)
    short = replace(
        recipe,
        data=replace(recipe.data, accumulate=1, workers=0),
        network=replace(recipe.network, encoder=replace(recipe.network.encoder, pretrained=False)),
        phases={name: replace(phase, **SHORT.get(phase.do, {})) for name, phase in recipe.phases.items()},
        warm_start="left out",
    )
    costs: dict[str, PhaseCost] = {}
    disk = 0
    with tempfile.TemporaryDirectory(prefix="sanity-check-") as name:
        folder = Path(name)

        def after_phase(phase: str, network: Network) -> None:
            nonlocal disk
            seconds = time.perf_counter() - stopwatch.phase_begun
            costs[phase] = replace(stopwatch.cost, seconds=seconds, stored=sum(_sizes(folder / STORE)))
            files = _sizes(folder)
            # A checkpoint is written beside the one it replaces.
            disk = max(disk, sum(files) - costs[phase].stored + max(files))
            stopwatch.restart()

        first = First(dataset, PICTURES, with_parts=any(phase.needs_parts for phase in recipe.phases.values()))
        seed_everything(recipe.seed, verbose=False)
        network = Network(short.network, dataset.labels, recipe.method)
        stopwatch = Stopwatch()
        run_phases(network, 0, short, first, folder, after_phase, [stopwatch])
        begun = time.perf_counter()
        measure(network, first, scores="segmentation")
        measuring = (time.perf_counter() - begun) / len(first)
        every = set(range(len(dataset.labels)))
        looks = max(1, sum(map(len, choose_pictures(first, every, FRAMED, seed=0).values())))
    _print(recipe, dataset, costs, len(first), looks, measuring, disk)


def _sizes(folder: Path) -> list[int]:
    """Bytes of each file in a folder and in those below."""
    return [file.stat().st_size for file in folder.rglob("*") if file.is_file()]


def _any_split(recipe: Recipe) -> SegmentationDataset:
    """The training split, else the validation split."""
    data = recipe.data
    try:
        return open_dataset(data.name, data.split, data.root, data.parts)
    except UserError as error:
        try:
            dataset = open_dataset(data.name, "val", data.root, data.parts)
        except UserError:
            raise error from None
        log.warning("%s; going on with the split val", error)
        return dataset


def _print(
    recipe: Recipe,
    dataset: SegmentationDataset,
    costs: dict[str, PhaseCost],
    seen: int,
    looks: int,
    measuring: float,
    disk: int,
) -> None:
    """Prints a table of the phases and the sums.

    Args:
        recipe: The training.
        dataset: A split of its data.
        costs: What was seen of each phase.
        seen: Pictures in them.
        looks: How often a frame phase looked at a class in a picture.
        measuring: Seconds a picture.
        disk: In bytes, but for what stands still.
    """
    pictures, validation = (_pictures(recipe, split, dataset) for split in (recipe.data.split, "val"))
    device = fastest_device()
    table = Table(title=f"{recipe.method} on {recipe.data.name}, estimated for this machine ({device.type})")
    for column in ("phase", "steps", "s/step", "TFLOP/step", "time"):
        table.add_column(column, justify="left" if column == "phase" else "right")
    seconds = flop = 0.0
    for name, phase in recipe.phases.items():
        cost, step = costs[name], ("", "", "")
        if phase.do == "fit":
            looked = cost.look * pictures / seen if cost.stored or phase.pointing else 0.0
            spent = looked + phase.steps * recipe.data.accumulate * cost.step
            work = recipe.data.accumulate * cost.flop
            flop += phase.steps * work
            step = f"{phase.steps:,}", f"{recipe.data.accumulate * cost.step:.2f}", f"{work / 1e12:.2f}"
        elif phase.do in SEARCHES:
            spent = cost.seconds + measuring * (pictures - seen)
        else:
            longer = {"frame": FRAMED * len(dataset.labels) / looks, "prune-by-parts": pictures / seen}
            spent = cost.seconds * longer.get(phase.do, 1)
        table.add_row(name, *step, _duration(spent))
        seconds += spent
    passes = len(costs) + (recipe.data.name in READERS and READERS[recipe.data.name].paper_size is not None)
    spent = measuring * validation * passes
    table.add_row(f"measuring {validation:,} pictures after each", "", "", "", _duration(spent))
    console.print(table)
    console.print(
        f"time: at least {_duration(seconds + spent)} on one device ({flop / 1e15:,.1f} PFLOP of training), "
        f"for {pictures:,} training pictures"
    )
    console.print(f"memory: at least {_peak_memory(device) / 2**30:.1f} GiB, of the {device.type}")
    kept = min(max(cost.stored for cost in costs.values()) * pictures / seen, recipe.store.gib * 2**30)
    console.print(f"disk: at least {(disk + kept) / 2**20:,.0f} MiB")


def _pictures(recipe: Recipe, split: str, dataset: SegmentationDataset) -> int:
    """How many pictures a whole split has, as published or as on disk; else as many as the split at hand."""
    name = recipe.data.name
    if name in READERS and split in READERS[name].pictures:
        return READERS[name].pictures[split]
    try:
        return len(open_dataset(name, split, recipe.data.root))
    except UserError:
        return len(dataset)


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s"


def _peak_memory(device: torch.device) -> int:
    """The most memory in use so far, in bytes: of the accelerator, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
