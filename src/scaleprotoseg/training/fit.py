"""A fit: one Lightning Trainer run that can be resumed at any checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from scaleprotoseg.data.seeds import seed_of
from scaleprotoseg.data.transforms import TrainingStream, augmentation
from scaleprotoseg.distributed import broadcast, fastest_device, local_world_size, world_size
from scaleprotoseg.errors import UserError
from scaleprotoseg.formats.black_boxes import load_model
from scaleprotoseg.inference.part_options import PAPER
from scaleprotoseg.inference.tiles import input_size
from scaleprotoseg.progress import progress_bar
from scaleprotoseg.training.batches import Batches
from scaleprotoseg.training.checkpoints import AtomicCheckpoints
from scaleprotoseg.training.copies import Copies
from scaleprotoseg.training.feature_store import FeatureCache, ViewCache
from scaleprotoseg.training.fit_module import FitModule, PrototypeTargets, log_interval
from scaleprotoseg.training.fit_settings import FitSettings
from scaleprotoseg.training.frozen import FrozenPrefix, frozen_level
from scaleprotoseg.training.losses.segmentation import PixelLoss
from scaleprotoseg.training.phases.run import PhaseRun
from scaleprotoseg.training.pointing import part_of_prototypes
from scaleprotoseg.training.precision import Precision, choose_precision
from scaleprotoseg.training.progress import PhaseProgress
from scaleprotoseg.training.sync_batch_norm import SyncNorms
from scaleprotoseg.training.tied import TiedPrototypes

CHECKPOINTS_PER_FIT = 10
"""Number of times that the training state is saved during a fit."""


def fit(settings: FitSettings, run: PhaseRun) -> None:
    """Train the network of a run; continue from the last checkpoint of this phase if there is one.

    Args:
        settings: Components to train, optimizer and losses.
        run: The run of the phase; its network is changed in place.

    Raises:
        UserError: If the data does not have what the settings need.
    """
    network = run.network
    network.eval()
    with run.durations.of("reading"):
        module = _module(settings, run)
    last = run.folder.steps(run.index) / "last.ckpt"
    trainer = _trainer(settings, run, _precision(settings, run))
    try:
        with run.durations.of("training"):
            trainer.fit(module.train(), ckpt_path=last if last.is_file() else None)
    except UserError as error:
        # The message of an error in a worker process is the whole traceback.
        raise UserError(str(error).strip().rpartition("UserError: ")[2]) from error
    except SystemExit as error:
        raise KeyboardInterrupt from error  # Lightning has turned the interrupt into an exit.
    network.to(fastest_device())
    broadcast(network.buffers())


def _module(settings: FitSettings, run: PhaseRun) -> FitModule:
    network, dataset, data = run.network, run.dataset, run.config.data
    teacher = load_model(run.teacher).to(network.mean.device) if run.teacher else None
    prefix = FrozenPrefix(network, frozen_level(network, settings), teacher)
    targets = PrototypeTargets(
        tied=TiedPrototypes(network, dataset) if settings.tied else None,
        parts=part_of_prototypes(network, dataset, progress_bar("assigning parts")) if settings.pointing else None,
    )
    batches = Batches(_stream(settings, run, prefix), data.batch_size, data.accumulate, data.workers)
    return FitModule(network, settings, PixelLoss(run.config.loss, run.class_weights), prefix, batches, targets)


def _stream(settings: FitSettings, run: PhaseRun, prefix: FrozenPrefix) -> TrainingStream | ViewCache:
    """Return the training items: augmented images, or cached features of a fixed set of augmented images."""
    config, data = run.config, run.config.data
    length = settings.steps * data.accumulate * data.batch_size
    images = _images(settings, run)
    if not config.store.views or prefix.level == "images":
        return images(seed=phase_seed(config.seed, run.index), length=length)
    cache = FeatureCache(
        prefix, Copies(settings.noise, settings.window), settings.pointing > 0, config, run.folder.features
    )
    seed = phase_seed(config.seed, run.num_phases)
    return cache.views(lambda count: images(seed=seed, length=count), length, progress_bar("caching features"))


def _images(settings: FitSettings, run: PhaseRun) -> Callable[..., TrainingStream]:
    """Return a function that builds a stream of augmented images of a length, with a seed."""
    data, expected = run.config.data, run.config.network.input
    return partial(
        TrainingStream,
        run.dataset,
        channels=len(expected.mean),
        size=partial(input_size, expected.size),
        transform=augmentation(data.crop, data.scale, expected.mean),
        radius=PAPER.radius if settings.pointing else None,
    )


def _precision(settings: FitSettings, run: PhaseRun) -> Precision:
    """Choose the precision; ``auto`` examines the gradients of the first batch."""
    stream = _images(settings, run)(seed=phase_seed(run.config.seed, run.index), length=run.config.data.batch_size)
    free = "encoder" in settings.learning_rates and settings.encoder_norm == "free"
    return choose_precision(
        run.config.precision, run.network, free, lambda: next(iter(DataLoader(stream, len(stream))))
    )


def _trainer(settings: FitSettings, run: PhaseRun, precision: Precision) -> Trainer:
    steps = run.folder.steps(run.index)
    earlier_logs = len(list(run.folder.logs.glob(f"{run.index:02d}-{run.name}*")))
    version = f"{run.index:02d}-{run.name}" + (f"-resumed-{earlier_logs}" if earlier_logs else "")
    # The processes are those of distributed.py, whatever a cluster sets in the environment.
    plugins: list[Any] = [AtomicCheckpoints(), LightningEnvironment()]
    if world_size() > 1 and torch.cuda.is_available() and settings.encoder_norm == "free":
        plugins.append(SyncNorms())  # not available on CPUs, where each process has its own batch statistics
    ddp = DDPStrategy(find_unused_parameters=run.network.encoder.unused_parameters) if world_size() > 1 else "auto"
    every = max(1, settings.steps // CHECKPOINTS_PER_FIT)
    return Trainer(
        max_steps=settings.steps,
        max_epochs=-1,
        accumulate_grad_batches=run.config.data.accumulate,
        accelerator="cpu" if fastest_device().type == "cpu" else "auto",
        devices=local_world_size(),
        num_nodes=world_size() // local_world_size(),
        strategy=ddp,
        use_distributed_sampler=False,
        precision=precision,
        callbacks=[
            ModelCheckpoint(steps, "last", every_n_train_steps=every, save_top_k=1, enable_version_counter=False),
            PhaseProgress(run.name),
            *run.callbacks,
        ],
        enable_progress_bar=False,
        plugins=plugins,
        logger=[CSVLogger(run.folder.path, "logs", version), TensorBoardLogger(run.folder.path, "logs", version)],
        log_every_n_steps=log_interval(settings),
        enable_model_summary=False,
    )


def phase_seed(seed: int, index: int) -> int:
    """Return the seed of the phase with this index; it differs between phases and between seeds of a recipe."""
    return seed_of(seed, index)
