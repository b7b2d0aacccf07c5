"""The curriculum: the phases of a recipe in order, each taken up again where it was cut off."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.data.labels import VOID, LabelTable
from scaleprotoseg.data.seeds import seed_of
from scaleprotoseg.data.transforms import TrainingStream, augmentation
from scaleprotoseg.distributed import gather, is_main, local_world_size, share, synchronise, wait, world_size
from scaleprotoseg.errors import UserError
from scaleprotoseg.model.bundle import load, load_encoder
from scaleprotoseg.model.deeplab_weights import is_weight_file, load_deeplab_encoder
from scaleprotoseg.model.foreign import TORCHVISION, TransformersEncoder
from scaleprotoseg.model.groups import GroupHead
from scaleprotoseg.model.inference import fastest_device, input_size
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.part_options import PAPER
from scaleprotoseg.model.prototypes import PrototypeHead
from scaleprotoseg.model.torchvision_weights import load_torchvision_encoder
from scaleprotoseg.training.checkpoints import AtomicCheckpoints
from scaleprotoseg.training.frame import frame
from scaleprotoseg.training.losses import class_weights
from scaleprotoseg.training.memory import keep_freed_memory
from scaleprotoseg.training.module import FitModule, log_every
from scaleprotoseg.training.pointing import part_of_prototypes, showing_parts
from scaleprotoseg.training.progress import PhaseProgress, over_pictures
from scaleprotoseg.training.projection import project
from scaleprotoseg.training.pruning import prune_by_neighbours, prune_by_parts
from scaleprotoseg.training.recipe import Phase, Recipe
from scaleprotoseg.training.stem import Stem, level_of
from scaleprotoseg.training.store import ViewStore, stored
from scaleprotoseg.training.sync import SyncNorms
from scaleprotoseg.training.tied import TiedPrototypes

log = logging.getLogger(__name__)

CHECKPOINTS_PER_PHASE = 10

STORE = "features"
"""Folder of a run in which what stands still is kept while it trains."""

AfterPhase = Callable[[str, Network], None]


def require_parts(recipe: Recipe, dataset: SegmentationDataset) -> None:
    """Whether there are parts, if a recipe's phases look at them.

    Raises:
        UserError: If no training picture shows a part.
    """
    needing = [
        f"{'pointing' if phase.pointing else phase.do} in phases.{name}"
        for name, phase in recipe.phases.items()
        if phase.needs_parts
    ]
    if needing and (dataset.parts is None or next(showing_parts(dataset), None) is None):
        raise UserError(
            f"{dataset.name}: no training picture shows a part, for {' and '.join(needing)}; say in data.parts where "
            "part labels lie, or leave that out"
        )


def require_teacher(recipe: Recipe, dataset: SegmentationDataset) -> None:
    """Whether something can be learnt from the warm start's logits, if a phase is to.

    Raises:
        UserError: If not.
    """
    name = recipe.warm_start
    if name is None or not any(phase.distillation and not phase.teacher for phase in recipe.phases.values()):
        return
    if is_weight_file(name):
        raise UserError(f"{name}: distillation learns from a whole model; give one of ours, or leave distillation out")
    with _said_of("warm_start"):
        teacher = load(name)
    if teacher.labels != dataset.labels or teacher.config.input != recipe.network.input:
        raise UserError(
            f"{name}: has other classes than the data, or reads pictures otherwise than network.input says, so that "
            "nothing can be learnt from its logits; leave distillation out"
        )


@contextmanager
def _said_of(key: str) -> Iterator[None]:
    """Puts the key of a recipe before what is wrong with its value."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{key}: {error}") from error


def start(recipe: Recipe, labels: LabelTable, folder: Path) -> tuple[Network, int]:
    """The network to go on with, and how many phases it has behind it.

    Args:
        recipe: The training.
        labels: Classes of the data.
        folder: The run's folder; checkpoints in it are taken up.

    Raises:
        UserError: If the network cannot be built, or the warm start or a checkpoint does not fit.
    """
    for index in reversed(range(len(recipe.phases))):
        if (done := _checkpoint(folder, index)).is_dir():
            network = load(done)
            if network.labels != labels:
                raise UserError(f"{folder}: was begun with other classes than the data has now; choose another --out")
            return network, index + 1
    seed_everything(recipe.seed, verbose=False)
    network = Network(recipe.network, labels, recipe.method)
    if recipe.warm_start is not None:
        with _said_of("warm_start"):
            if not is_weight_file(recipe.warm_start):
                load_encoder(network, recipe.warm_start)
            elif recipe.network.encoder.name.startswith(TORCHVISION):
                load_torchvision_encoder(network, recipe.warm_start)
            else:
                load_deeplab_encoder(network, recipe.warm_start)
    return network, 0


def run_phases(
    network: Network,
    done: int,
    recipe: Recipe,
    dataset: SegmentationDataset,
    folder: Path,
    after_phase: AfterPhase,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Trains a network through the phases of a recipe that are still to do.

    After each phase the network is kept under ``checkpoints/``, and within a phase ten times; :func:`start` and this
    function take up what they find there, so that a killed run goes on where it was. Several processes train one
    network on their parts of each batch; the main one writes.

    Args:
        network: As :func:`start` gives it; changed in place, in eval mode at the end.
        done: Phases it has behind it.
        recipe: The training.
        dataset: Training pictures.
        folder: The run's folder.
        after_phase: Called with the name of each phase and the network it left, before the next begins; by every
            process.
        callbacks: Also told of every step of every fit.

    Raises:
        UserError: If a batch cannot be shared by the processes.
    """
    if recipe.data.batch_size % world_size():
        raise UserError(
            f"data.batch_size is {recipe.data.batch_size}, which {world_size()} devices cannot share; give a multiple "
            f"of {world_size()}, and divide data.accumulate ({recipe.data.accumulate}) by the same factor"
        )
    if fastest_device().type == "cpu":
        keep_freed_memory()
    # A loaded network would lie in memory otherwise than a trained one, and convolve with other last digits.
    network.to(fastest_device()).to(memory_format=torch.channels_last)
    weights = _class_weights(recipe, dataset) if done < len(recipe.phases) else None
    for index, (name, phase) in list(enumerate(recipe.phases.items()))[done:]:
        seed_everything(_phase_seed(recipe, index), verbose=False)
        log.info("phase %d of %d: %s", index + 1, len(recipe.phases), name)
        if phase.do == "fit":
            _fit(network, recipe, index, name, weights, dataset, folder, callbacks)
        else:
            _reshape(network, phase, dataset)
        network.eval()
        after_phase(name, network)
        if is_main():
            network.save_pretrained(_checkpoint(folder, index))
            for old in range(index):
                if not _teaches(recipe, old, index):
                    shutil.rmtree(_checkpoint(folder, old), ignore_errors=True)
            shutil.rmtree(_checkpoint(folder, index, "-steps"), ignore_errors=True)
        wait()
    if is_main():
        shutil.rmtree(folder / STORE, ignore_errors=True)


def _checkpoint(folder: Path, index: int, suffix: str = "") -> Path:
    """Where a run keeps the network after a phase; with ``-steps``, where it keeps the steps within."""
    return folder / "checkpoints" / f"{index:02d}{suffix}"


def _class_weights(recipe: Recipe, dataset: SegmentationDataset) -> Tensor | None:
    if recipe.loss.class_balance == 0:
        return None
    pixels = torch.zeros(VOID + 1, dtype=torch.long)
    for index in over_pictures("counting pixels")(share(len(dataset))):
        mask = dataset[index].mask
        if mask is not None:
            pixels += torch.bincount(torch.from_numpy(mask).flatten(), minlength=VOID + 1)
    total = torch.stack(gather(pixels)).sum(dim=0)
    return class_weights(total[: len(dataset.labels)], recipe.loss.class_balance)


def _reshape(network: Network, phase: Phase, dataset: SegmentationDataset) -> None:
    """The phases that change the head instead of training it."""
    network.eval()
    head = network.head
    if phase.do == "project":
        project(network, dataset, over_pictures("projecting prototypes"))
    elif phase.do == "prune-by-neighbours":
        progress = over_pictures("looking at neighbours")
        prune_by_neighbours(network, dataset, phase.neighbours, phase.agreeing, progress)
    elif phase.do == "prune-by-parts":
        prune_by_parts(network, dataset, phase.agreement, over_pictures("looking for parts"))
    elif phase.do == "frame":
        frame(network, dataset, phase.inside, progress=over_pictures("looking for evidence"))
    elif phase.do == "group":
        assert isinstance(head, PrototypeHead)
        network.replace_head(GroupHead.over(head, phase.groups), network.sources)
    else:
        assert isinstance(head, GroupHead)
        pruned, kept = head.pruned(phase.threshold)
        network.replace_head(pruned, [network.sources[index] for index in kept.tolist()])


def _fit(
    network: Network,
    recipe: Recipe,
    index: int,
    name: str,
    weights: Tensor | None,
    dataset: SegmentationDataset,
    folder: Path,
    callbacks: Sequence[Callback],
) -> None:
    phase, data = recipe.phases[name], recipe.data
    length = phase.steps * data.accumulate * data.batch_size
    network.eval()
    teacher = _teacher(recipe, phase, network, folder) if phase.distillation else None
    stem = Stem(network, level_of(network, phase), teacher)
    stream: TrainingStream | ViewStore
    if recipe.store.views and stem.level != "pictures":
        views = partial(_stream, recipe, phase, dataset, _phase_seed(recipe, len(recipe.phases)))
        stream = stored(stem, phase, recipe, views, folder / STORE, length, over_pictures("reading views"))
    else:
        stream = _stream(recipe, phase, dataset, _phase_seed(recipe, index), length)
    tied = TiedPrototypes(network, dataset) if phase.tied else None
    part_of = part_of_prototypes(network, dataset, over_pictures("looking for parts")) if phase.pointing else None
    module = FitModule(network, phase, recipe.loss, weights, stem, stream, data, tied, part_of)
    steps = _checkpoint(folder, index, "-steps")
    every = max(1, phase.steps // CHECKPOINTS_PER_PHASE)
    begun = len(list((folder / "logs").glob(f"{index:02d}-{name}*")))
    version = f"{index:02d}-{name}" + (f"-resumed-{begun}" if begun else "")
    # Whatever a cluster sets in the environment, places are those that distributed.py knows.
    plugins: list[Any] = [AtomicCheckpoints(), LightningEnvironment()]
    if world_size() > 1 and torch.cuda.is_available() and phase.encoder_norm == "free":
        plugins.append(SyncNorms())  # On CPUs there is none, each process has its own batch statistics.
    trainer = Trainer(
        max_steps=phase.steps,
        max_epochs=-1,
        accumulate_grad_batches=data.accumulate,
        accelerator="cpu" if fastest_device().type == "cpu" else "auto",
        devices=local_world_size(),
        num_nodes=world_size() // local_world_size(),
        # Of a transformers encoder, what comes after its stage gets no gradient.
        strategy=DDPStrategy(find_unused_parameters=isinstance(network.encoder.net, TransformersEncoder))
        if world_size() > 1
        else "auto",
        use_distributed_sampler=False,
        precision=_precision(recipe),
        callbacks=[
            ModelCheckpoint(steps, "last", every_n_train_steps=every, save_top_k=1, enable_version_counter=False),
            PhaseProgress(name),
            *callbacks,
        ],
        enable_progress_bar=False,
        plugins=plugins,
        logger=[CSVLogger(folder, "logs", version), TensorBoardLogger(folder, "logs", version)],
        log_every_n_steps=log_every(phase),
        enable_model_summary=False,
    )
    last = steps / "last.ckpt"
    try:
        trainer.fit(module.train(), ckpt_path=last if last.is_file() else None)
    except UserError as error:
        # A worker process hands its errors on with the whole traceback as their message.
        raise UserError(str(error).strip().rpartition("UserError: ")[2]) from error
    except SystemExit as error:
        raise KeyboardInterrupt from error  # Lightning turns the one into the other
    network.to(fastest_device())
    synchronise(network.buffers())


def _teaches(recipe: Recipe, index: int, done: int) -> bool:
    """Whether the network that a phase left is a teacher in a phase that is still to come."""
    name, phases = list(recipe.phases)[index], list(recipe.phases.values())
    return any(phase.distillation and phase.teacher == name for phase in phases[done + 1 :])


def _teacher(recipe: Recipe, phase: Phase, network: Network, folder: Path) -> Network:
    """The network after an earlier phase, or the model that the training started from."""
    earlier = _checkpoint(folder, list(recipe.phases).index(phase.teacher)) if phase.teacher else None
    name = earlier or recipe.warm_start
    assert name is not None
    return load(name).to(network.mean.device)


def _stream(recipe: Recipe, phase: Phase, dataset: SegmentationDataset, seed: int, length: int) -> TrainingStream:
    """Augmented pictures, with parts if a phase looks at them."""
    reading = recipe.network.input
    return TrainingStream(
        dataset,
        channels=len(reading.mean),
        size=partial(input_size, reading.size),
        transform=augmentation(recipe.data.crop, recipe.data.scale, reading.mean),
        seed=seed,
        length=length,
        radius=PAPER.radius if phase.pointing else None,
    )


def _phase_seed(recipe: Recipe, index: int) -> int:
    """A seed of its own for every phase of every run."""
    return seed_of(recipe.seed, index)


def _precision(recipe: Recipe) -> Literal["32-true", "bf16-mixed"]:
    """bfloat16 on GPUs and on CPUs with 512-bit vectors; on others it is emulated and slower than float32."""
    fast = torch.cuda.is_available() or "AVX512" in torch.backends.cpu.get_cpu_capability()
    bf16 = fast if recipe.precision == "auto" else recipe.precision == "bf16"
    return "bf16-mixed" if bf16 else "32-true"
