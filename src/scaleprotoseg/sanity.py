"""The sanity check of a recipe: runs a few steps of every phase, and estimates the needs of the whole training."""

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

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.data.files import list_images
from scaleprotoseg.data.folder import hashed_split
from scaleprotoseg.data.registry import READERS, open_dataset
from scaleprotoseg.data.subset import Subset
from scaleprotoseg.distributed import fastest_device
from scaleprotoseg.errors import UserError
from scaleprotoseg.evaluation.segmentation import score_segmentation
from scaleprotoseg.inference.evidence import choose_images
from scaleprotoseg.model.network import Network
from scaleprotoseg.training.curriculum import check_parts, given_teacher, run_phases
from scaleprotoseg.training.phases.frame import IMAGES_PER_CLASS
from scaleprotoseg.training.phases.run import Observation
from scaleprotoseg.training.pointing import images_with_parts
from scaleprotoseg.training.predicted_masks import predicted_dataset
from scaleprotoseg.training.recipe import Recipe
from scaleprotoseg.training.run_folder import RunFolder

log = logging.getLogger(__name__)
console = Console()

IMAGES = 2
"""Number of images to train on, to project onto and to measure."""


class Stopwatch(Callback):
    """A callback that times preparation and last batch of a fit, and counts the operations of its first batch."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Start with a new phase."""
        self.seen = Observation()
        self.begun = time.perf_counter()

    def setup(self, *_: Any, **__: Any) -> None:
        """Record the duration of the preparation."""
        self.seen = replace(self.seen, preparation_seconds=time.perf_counter() - self.begun)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start counting operations, in the first batch, and the time."""
        self.counting = ExitStack()
        if batch_idx == 0:
            self.counter = self.counting.enter_context(FlopCounterMode(display=False))
        self.batch_begun = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Record the duration and the operations of the batch."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self.batch_begun
        self.counting.close()
        self.seen = replace(self.seen, batch_seconds=seconds, flop=self.counter.get_total_flops())


@dataclass(frozen=True)
class PhaseEstimate:
    """Estimated needs of one phase.

    Attributes:
        seconds: Duration of the phase.
        steps: Number of optimizer steps; 0 for a phase that is not a fit.
        step_seconds: Seconds per step.
        step_flop: Number of floating-point operations per step.
    """

    seconds: float
    steps: int
    step_seconds: float
    step_flop: float


@dataclass(frozen=True)
class Estimate:
    """Estimated needs of a whole training on this machine.

    Attributes:
        phases: Needs of each phase.
        measuring: Seconds to measure the validation split, summed over all phases.
        training_images: Number of training images.
        validation_images: Number of validation images.
        disk: Bytes on disk.
    """

    phases: dict[str, PhaseEstimate]
    measuring: float
    training_images: int
    validation_images: int
    disk: float


def sanity_check(recipe: Recipe) -> None:
    """Run a few steps of every phase in a temporary folder, and print the estimated needs of the whole training.

    Uses the training split or, if it is not on disk, the validation split. Pretrained weights and the warm start are
    left out, which does not change time and memory; so are teachers. The time to read images is not measured.

    Args:
        recipe: The training.

    Raises:
        UserError: If neither split can be opened, or the recipe does not work.
    """
    with tempfile.TemporaryDirectory(prefix="sanity-check-") as masks:
        dataset = _any_split(recipe, Path(masks))
        check_parts(recipe, dataset)
        _print(recipe, _estimate(recipe, dataset, *_observe(recipe, dataset)))


def _observe(recipe: Recipe, dataset: SegmentationDataset) -> tuple[dict[str, Observation], int]:
    """Run the shortened phases; return the measurements of each, and the largest disk usage without feature cache."""
    short = replace(
        recipe,
        data=replace(recipe.data, accumulate=1, workers=0),
        phases={name: phase.shortened() for name, phase in recipe.phases.items()},
    )
    observations: dict[str, Observation] = {}
    disk = 0
    with tempfile.TemporaryDirectory(prefix="sanity-check-") as name:
        folder = RunFolder(Path(name))

        def after_phase(phase: str, network: Network) -> None:
            nonlocal disk
            cached = sum(_sizes(folder.features))
            seconds = time.perf_counter() - stopwatch.begun
            observations[phase] = replace(stopwatch.seen, seconds=seconds, cached_bytes=cached)
            files = _sizes(folder.path)
            # A checkpoint is written completely before it replaces the previous one.
            disk = max(disk, sum(files) - cached + max(files))
            stopwatch.restart()

        needs_parts = any(phase.needs_parts for phase in recipe.phases.values())
        suitable = images_with_parts(dataset) if needs_parts else range(len(dataset))
        first = Subset(dataset, islice(suitable, IMAGES))
        seed_everything(recipe.seed, verbose=False)
        config = replace(recipe.network, encoder=replace(recipe.network.encoder, pretrained=False, weights=None))
        network = Network(config, dataset.labels, recipe.method)
        stopwatch = Stopwatch()
        run_phases(network, 0, short, first, folder, after_phase, [stopwatch])
        begun = time.perf_counter()
        score_segmentation(network, first)
        image_seconds = (time.perf_counter() - begun) / len(first)
    size = _training_size(recipe, dataset, first) | {"image_seconds": image_seconds}
    return {name: replace(seen, **size) for name, seen in observations.items()}, disk


def _training_size(recipe: Recipe, dataset: SegmentationDataset, first: Subset) -> dict[str, Any]:
    """Return the attributes of :class:`Observation` that are sizes of the whole training and of the shortened one."""
    classes = len(dataset.labels)
    chosen = choose_images(first, set(range(classes)), IMAGES_PER_CLASS, seed=0)
    return {
        "images": _image_count(recipe, recipe.data.split, dataset),
        "images_seen": len(first),
        "classes": classes,
        "class_views": max(1, sum(map(len, chosen.values()))),
    }


def _estimate(
    recipe: Recipe, dataset: SegmentationDataset, observations: dict[str, Observation], disk: int
) -> Estimate:
    """Estimate the needs of the whole training from the measurements of its shortened phases."""
    seen = next(iter(observations.values()))
    validation = _image_count(recipe, "val", dataset)
    paper = recipe.data.name in READERS and READERS[recipe.data.name].paper_size is not None
    passes = sum(phase.measured for phase in recipe.phases.values()) + paper
    cached = max(one.cached_bytes for one in observations.values()) * seen.images / seen.images_seen
    batches = recipe.data.accumulate
    return Estimate(
        phases={
            name: PhaseEstimate(
                phase.estimate(one := observations[name], recipe),
                phase.optimizer_steps,
                batches * one.batch_seconds,
                batches * one.flop,
            )
            for name, phase in recipe.phases.items()
        },
        measuring=seen.image_seconds * validation * passes,
        training_images=seen.images,
        validation_images=validation,
        disk=disk + min(cached, recipe.store.gib * 2**30),
    )


def _print(recipe: Recipe, estimate: Estimate) -> None:
    """Print a table of the phases, and the totals."""
    device = fastest_device()
    table = Table(title=f"{recipe.method} on {recipe.data.name}, estimated for this machine ({device.type})")
    for column in ("phase", "steps", "s/step", "TFLOP/step", "time"):
        table.add_column(column, justify="left" if column == "phase" else "right")
    for name, phase in estimate.phases.items():
        numbers = f"{phase.steps:,}", f"{phase.step_seconds:.2f}", f"{phase.step_flop / 1e12:.2f}"
        table.add_row(name, *(numbers if phase.steps else ("", "", "")), _duration(phase.seconds))
    measuring = f"measuring {estimate.validation_images:,} images after each"
    table.add_row(measuring, "", "", "", _duration(estimate.measuring))
    console.print(table)
    seconds = sum(phase.seconds for phase in estimate.phases.values()) + estimate.measuring
    flop = sum(phase.steps * phase.step_flop for phase in estimate.phases.values())
    console.print(
        f"time: at least {_duration(seconds)} on one device ({flop / 1e15:,.1f} PFLOP of training), "
        f"for {estimate.training_images:,} training images"
    )
    console.print(f"memory: at least {_peak_memory(device) / 2**30:.1f} GiB ({device.type})")
    console.print(f"disk: at least {estimate.disk / 2**20:,.0f} MiB")


def _sizes(folder: Path) -> list[int]:
    """Return the size of each file in a folder and its subfolders, in bytes."""
    return [file.stat().st_size for file in folder.rglob("*") if file.is_file()]


def _any_split(recipe: Recipe, masks: Path) -> SegmentationDataset:
    """Open the training split or, if that fails, the validation split.

    Args:
        recipe: The training.
        masks: Folder for the masks that the teacher predicts for the first images, if there is no labeled data.
    """
    if recipe.data.name is not None:
        return _labeled_split(recipe)
    teacher = given_teacher(recipe)
    assert teacher is not None
    assert recipe.data.images is not None
    return predicted_dataset(teacher, recipe.data.images, masks, "train", limit=IMAGES)


def _labeled_split(recipe: Recipe) -> SegmentationDataset:
    data = recipe.data
    assert data.name is not None
    try:
        return open_dataset(data.name, data.split, data.root, data.parts)
    except UserError as error:
        try:
            dataset = open_dataset(data.name, "val", data.root, data.parts)
        except UserError:
            raise error from None
        log.warning("%s; continuing with the split val", error)
        return dataset


def _image_count(recipe: Recipe, split: str, dataset: SegmentationDataset) -> int:
    """Return the number of images in a split: as published, else on disk, else in the split that could be opened."""
    name, images = recipe.data.name, recipe.data.images
    if name is None:
        return len(hashed_split(list_images(images)[0], split)) if images else 0
    if name in READERS and split in READERS[name].image_counts:
        return READERS[name].image_counts[split]
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
    """Return the peak memory so far in bytes, of the GPU or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
