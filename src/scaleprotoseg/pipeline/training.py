"""A whole run: training, metrics and report. Every phase is saved, so that an interrupted run can be resumed."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape

from scaleprotoseg.data.dataset import Sample, SegmentationDataset
from scaleprotoseg.data.joined import Joined
from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.data.relabeled import with_classes
from scaleprotoseg.data.subset import spread
from scaleprotoseg.distributed import barrier, fastest_device, is_main, process_group
from scaleprotoseg.errors import UserError
from scaleprotoseg.evaluation.metrics import Metrics, fraction_kept, measure, measure_agreement
from scaleprotoseg.evaluation.tables import render
from scaleprotoseg.explanation.report import write_report
from scaleprotoseg.files import write_file
from scaleprotoseg.formats.bundle import save
from scaleprotoseg.model.network import Network
from scaleprotoseg.progress import progress_bar
from scaleprotoseg.training.curriculum import check_parts, given_teacher, run_phases, start
from scaleprotoseg.training.durations import Durations
from scaleprotoseg.training.predicted_masks import predicted_dataset
from scaleprotoseg.training.recipe import Recipe, with_new_keys, with_own_keys
from scaleprotoseg.training.run_folder import RunFolder

log = logging.getLogger(__name__)
console = Console()

EXAMPLES = 6
"""Number of validation images in a report."""

FEW_IMAGES = 50
"""Number of validation images after a phase that is not measured on all of them."""


def train(recipe: Recipe, folder: Path, resume: bool = False) -> Metrics:
    """Train a recipe, and write the finished run to a folder.

    Args:
        recipe: The training.
        folder: Folder of the run, in which ``config.yaml``, ``logs/``, ``checkpoints/``, ``model/``, ``metrics.json``
            and ``report.html`` are written.
        resume: Continue the run that is in the folder.

    Returns:
        The metrics of the finished model on the validation split.

    Raises:
        UserError: If the data or the recipe is unusable, or the folder holds another run.
    """
    with process_group():
        return _train(recipe, RunFolder(folder), resume)


def _train(recipe: Recipe, folder: RunFolder, resume: bool) -> Metrics:
    """Train as one of the processes of a run; the main process writes the files."""
    teacher = given_teacher(recipe)
    if teacher is not None:
        teacher.to(fastest_device())
    training, validation = open_training_data(recipe, teacher, folder.masks)
    check_parts(recipe, training)
    network, done = start(recipe, training.labels, folder)
    history = _read_history(folder)
    barrier()  # All processes have read the files of an earlier run, which the main process may change from here on.
    if is_main():
        _claim(folder, recipe, resume)

    last, black_box = list(recipe.phases)[-1], _black_box_phase(recipe)
    durations = Durations(folder.durations if is_main() else None)

    def after_phase(name: str, network: Network) -> None:
        if not recipe.phases[name].measured and name != last:
            return
        with durations.of("measuring"):
            metrics = measured(name, network)
        history[name] = metrics
        log.info("after %s: mIoU %.3f", name, float("nan") if metrics.miou is None else metrics.miou)
        if is_main():
            write_json(folder.phase_metrics, {phase: one.to_dict() for phase, one in history.items()})

    def measured(name: str, network: Network) -> Metrics:
        progress = progress_bar(f"measuring after {name}")
        if name != last:
            whole = recipe.measure == "every" or name == black_box
            images = validation if whole else spread(validation, FEW_IMAGES)
            return measure(network, images, recipe.seed, "segmentation", progress=progress)
        metrics = measure(network, validation, recipe.seed, progress=progress)
        if black_box is not None:
            metrics = replace(metrics, black_box=history[black_box].as_black_box(black_box))
        if teacher is not None:
            metrics = replace(metrics, agreement=measure_agreement(network, teacher, validation, progress))
        return metrics.without_labels() if recipe.data.name is None else metrics

    run_phases(network, done, recipe, training, folder, after_phase, durations=durations)
    metrics = history[last]
    if is_main():
        save(network, folder.model)
        write_json(folder.metrics, metrics.to_dict())
        write_report(network, folder.report, metrics.to_dict(), examples(validation))
        render(metrics, console)
    return metrics


def open_training_data(
    recipe: Recipe, teacher: Network | None, masks: Path
) -> tuple[SegmentationDataset, SegmentationDataset]:
    """Open the training and the validation split of a recipe, with the classes of the teacher if there is one.

    Args:
        recipe: The training.
        teacher: Model that predicts the masks of images without, and whose classes the data gets.
        masks: Folder for the predicted masks.

    Raises:
        UserError: If the data is missing or faulty, or has no class in common with the teacher.
    """
    data = recipe.data
    opened: list[SegmentationDataset] = []
    if data.name is not None:
        opened = [open_dataset(data.name, split, data.root, data.parts) for split in (data.split, "val")]
    if teacher is None:
        training, validation = opened
        return training, validation
    opened = [with_classes(teacher.labels, dataset, data.mapping) for dataset in opened]
    if data.images is not None:
        splits = (None,) if opened else ("train", "val")
        progress = progress_bar("predicting masks")
        predicted = [predicted_dataset(teacher, data.images, masks, split, progress) for split in splits]
        opened = [Joined([opened[0], *predicted]), opened[1]] if opened else list(predicted)
    training, validation = opened
    return training, validation


def demo(recipe: Recipe, folder: Path, resume: bool = False) -> None:
    """Train a black box and turn it into a model that explains itself, in one run.

    Args:
        recipe: A recipe that begins with a black box.
        folder: Folder of the run.
        resume: Continue the run that is in the folder.
    """
    metrics = train(recipe, folder, resume).to_dict()
    kept = fraction_kept(metrics)
    if kept is None:
        raise ValueError("the recipe of the demo does not begin with a black box")
    console.print(
        f"{metrics['method']} reaches mIoU {metrics['miou']:.3f}, {kept:.3f} of the black box's "
        f"{metrics['black_box']['miou']:.3f}, and explains every pixel: open {escape(str(folder / 'report.html'))}"
    )


def examples(dataset: SegmentationDataset) -> list[Sample]:
    """Read samples that are spread evenly over a split."""
    count = min(EXAMPLES, len(dataset))
    return [dataset[index * len(dataset) // count] for index in range(count)]


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write values as a JSON file.

    Raises:
        UserError: If the file cannot be written.
    """
    write_file(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def _black_box_phase(recipe: Recipe) -> str | None:
    """Return the name of the phase after which the black box was measured, if the recipe begins with a black box."""
    added = next((name for name, phase in recipe.phases.items() if phase.adds_prototypes), None)
    before = list(recipe.phases)[: list(recipe.phases).index(added)] if added else []
    return before[-1] if before else None


def _read_history(folder: RunFolder) -> dict[str, Metrics]:
    """Read the metrics after each finished phase."""
    if not folder.phase_metrics.is_file():
        return {}
    values = json.loads(folder.phase_metrics.read_text(encoding="utf-8"))
    return {name: Metrics.from_dict(metrics) for name, metrics in values.items()}


def _claim(folder: RunFolder, recipe: Recipe, resume: bool) -> None:
    """Write the recipe into a new folder, or check that the folder holds a run of the same recipe."""
    values = recipe.to_dict()
    if not folder.config.is_file():
        if folder.path.is_dir() and any(path != folder.masks for path in folder.path.iterdir()):
            raise UserError(f"{folder.path}: is not empty and holds no run; choose another --out")
        write_file(folder.config, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
        return
    if not resume:
        raise UserError(f"{folder.path}: already holds a run; add --resume to continue it, or choose another --out")
    old = with_new_keys(with_own_keys(yaml.safe_load(folder.config.read_text(encoding="utf-8"))))
    if different := _differences(old, values):
        raise UserError(
            f"{folder.config}: the run was begun with other values of {', '.join(different)}; choose another --out"
        )


def _differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """List the keys whose values differ between two recipes; ``phases`` if their order differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        found = [where for key in keys for where in _differences(old.get(key), new.get(key), f"{prefix}{key}.")]
        reordered = not found and prefix == "phases." and list(old) != list(new)
        return [prefix.rstrip(".")] if reordered else found
    return [] if old == new else [prefix.rstrip(".")]
