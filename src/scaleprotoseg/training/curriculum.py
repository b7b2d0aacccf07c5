"""The curriculum: runs the phases of a recipe in order, and resumes an interrupted run."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.data.labels import VOID, LabelTable
from scaleprotoseg.distributed import barrier, fastest_device, gather, is_main, shard, world_size
from scaleprotoseg.errors import UserError
from scaleprotoseg.formats.black_boxes import load_model
from scaleprotoseg.formats.bundle import load, save
from scaleprotoseg.formats.encoder_weights import is_weight_file, load_encoder
from scaleprotoseg.model.network import Network
from scaleprotoseg.progress import progress_bar
from scaleprotoseg.training.cpu_memory import keep_freed_memory
from scaleprotoseg.training.durations import Durations
from scaleprotoseg.training.fit import phase_seed
from scaleprotoseg.training.losses.segmentation import class_weights
from scaleprotoseg.training.phases.run import PhaseRun
from scaleprotoseg.training.pointing import images_with_parts
from scaleprotoseg.training.recipe import Recipe
from scaleprotoseg.training.run_folder import RunFolder

log = logging.getLogger(__name__)

AfterPhase = Callable[[str, Network], None]
"""Callback that gets the name of a finished phase, and the network."""


def check_parts(recipe: Recipe, dataset: SegmentationDataset) -> None:
    """Check that object parts are annotated, if a phase of the recipe needs them.

    Raises:
        UserError: If no training image shows a part.
    """
    needing = [
        f"{'pointing' if phase.do == 'fit' else phase.do} in phases.{name}"
        for name, phase in recipe.phases.items()
        if phase.needs_parts
    ]
    if needing and (dataset.parts is None or next(images_with_parts(dataset), None) is None):
        raise UserError(
            f"{dataset.name}: no training image shows an object part, for {' and '.join(needing)}; give the "
            "annotations in data.parts, or leave that out"
        )


def given_teacher(recipe: Recipe) -> Network | None:
    """Load the model in ``warm_start`` if it is the teacher of a phase, or predicts masks.

    Raises:
        UserError: If the model cannot be a teacher: there is none, it is a weight file, or its input differs from the
            recipe's.
    """
    name = recipe.warm_start
    students = [phase for phase in recipe.phases.values() if phase.needs_teacher and not phase.teacher_phase]
    if recipe.data.images is not None and name is None:
        raise UserError("data.images: their masks are predicted by the model in warm_start; name one, or use --from")
    if name is None or not (students or recipe.data.images):
        return None
    if is_weight_file(name):
        raise UserError(
            f"{name}: distillation needs a whole model, and this is a weight file; give a bundle, or leave "
            "distillation out"
        )
    with _prefixed_errors("warm_start"):
        teacher = load_model(name)
    if teacher.config.input != recipe.network.input:
        raise UserError(
            f"{name}: cannot be the teacher, because its input differs from network.input; leave distillation out"
        )
    return teacher


def start(recipe: Recipe, labels: LabelTable, folder: RunFolder) -> tuple[Network, int]:
    """Build the network, or load it from the last checkpoint of a run.

    Args:
        recipe: The training.
        labels: Classes of the data.
        folder: The run.

    Returns:
        The network, and the number of finished phases.

    Raises:
        UserError: If the network cannot be built, or the warm start or the checkpoint does not fit.
    """
    for index in reversed(range(len(recipe.phases))):
        if folder.checkpoint(index).is_dir():
            network = load(folder.checkpoint(index))
            if network.labels != labels:
                raise UserError(
                    f"{folder.path}: the run was begun with other classes than the data has now; choose another --out"
                )
            return network, index + 1
    seed_everything(recipe.seed, verbose=False)
    network = Network(recipe.network, labels, recipe.method)
    if recipe.warm_start is not None:
        with _prefixed_errors("warm_start"):
            load_encoder(network, recipe.warm_start)
    if recipe.network.encoder.weights is not None:
        with _prefixed_errors("network.encoder.weights"):
            load_encoder(network, recipe.network.encoder.weights)
    return network, 0


def run_phases(
    network: Network,
    done: int,
    recipe: Recipe,
    dataset: SegmentationDataset,
    folder: RunFolder,
    after_phase: AfterPhase,
    callbacks: Sequence[Callback] = (),
    durations: Durations | None = None,
) -> None:
    """Train a network through the remaining phases of a recipe.

    A checkpoint is written after each phase, and ten times during each fit; :func:`start` and this function resume from
    them. Several processes train one network, each on its shard of every batch; the main process writes the files.

    Args:
        network: The network from :func:`start`; changed in place, in eval mode at the end.
        done: Number of finished phases.
        recipe: The training.
        dataset: Training images.
        folder: The run.
        after_phase: Called after each phase by every process, before the checkpoint is written.
        callbacks: Lightning callbacks for all fits.
        durations: Seconds by activity, to which those of the phases are added.

    Raises:
        UserError: If a batch cannot be split among the processes, or the data does not have what a phase needs.
    """
    _check_batch_size(recipe)
    if fastest_device().type == "cpu":
        keep_freed_memory()
    network.to(fastest_device())
    weights = _class_weights(recipe, dataset) if done < len(recipe.phases) else None
    for index, (name, phase) in list(enumerate(recipe.phases.items()))[done:]:
        seed_everything(phase_seed(recipe.seed, index), verbose=False)
        log.info("phase %d of %d: %s", index + 1, len(recipe.phases), name)
        # A phase may have built new modules. Without the layout of a loaded network, convolutions would differ in their
        # last digits, and fused Adam would misread the optimizer state of a checkpoint, which has its own layout.
        network.to(memory_format=torch.channels_last).eval()
        teacher = _teacher(recipe, name, folder)
        run = PhaseRun(name, index, recipe, len(recipe.phases), network, dataset, folder, weights, teacher)
        run.callbacks, run.durations = callbacks, durations or Durations()
        phase.run(run)
        network.eval()
        after_phase(name, network)
        if is_main():
            save(network, folder.checkpoint(index))
            _remove_outdated(recipe, index, folder)
        barrier()
    if is_main():
        shutil.rmtree(folder.features, ignore_errors=True)


@contextmanager
def _prefixed_errors(key: str) -> Iterator[None]:
    """Prefix the messages of user errors in a block with the key of the recipe that causes them."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{key}: {error}") from error


def _check_batch_size(recipe: Recipe) -> None:
    if recipe.data.batch_size % world_size():
        raise UserError(
            f"data.batch_size is {recipe.data.batch_size}, which cannot be split among {world_size()} devices; give a "
            f"multiple of {world_size()}, and divide data.accumulate ({recipe.data.accumulate}) by the same factor"
        )


def _teacher(recipe: Recipe, name: str, folder: RunFolder) -> str | None:
    """Return the bundle of a phase's teacher: the network after an earlier phase, or the warm start."""
    phase = recipe.phases[name]
    if not phase.needs_teacher:
        return None
    if not phase.teacher_phase:
        return recipe.warm_start
    return str(folder.checkpoint(list(recipe.phases).index(phase.teacher_phase)))


def _remove_outdated(recipe: Recipe, index: int, folder: RunFolder) -> None:
    """Remove the training state of a finished phase, and earlier checkpoints that no later phase needs as a teacher."""
    later = list(recipe.phases.values())[index + 1 :]
    for old, name in enumerate(list(recipe.phases)[:index]):
        if all(phase.teacher_phase != name for phase in later):
            shutil.rmtree(folder.checkpoint(old), ignore_errors=True)
    shutil.rmtree(folder.steps(index), ignore_errors=True)


def _class_weights(recipe: Recipe, dataset: SegmentationDataset) -> Tensor | None:
    """Return the (C,) class weights from the pixel counts of all masks, or None if all classes weigh the same."""
    if recipe.loss.class_balance == 0:
        return None
    pixels = torch.zeros(VOID + 1, dtype=torch.long)
    for index in progress_bar("counting pixels")(shard(len(dataset))):
        mask = dataset[index].mask
        if mask is not None:
            pixels += torch.bincount(torch.from_numpy(mask).flatten(), minlength=VOID + 1)
    total = torch.stack(gather(pixels)).sum(dim=0)
    return class_weights(total[: len(dataset.labels)], recipe.loss.class_balance)
