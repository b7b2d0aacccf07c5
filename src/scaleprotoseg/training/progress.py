"""The progress bar of a fit."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from scaleprotoseg.progress import is_hidden


class PhaseProgress(Callback):
    """A progress bar with the optimizer steps, the remaining time and the last loss.

    Args:
        name: Name of the phase.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
            transient=True,
            disable=is_hidden(),
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the bar at the current step, which is not 0 in a resumed fit."""
        self.task = self.bar.add_task(
            self.name, total=trainer.max_steps, completed=trainer.global_step, loss=float("nan")
        )
        self.bar.start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        """Update the bar."""
        self.bar.update(
            self.task, completed=trainer.global_step, loss=float(outputs["loss"]) * trainer.accumulate_grad_batches
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar."""
        self.bar.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the bar when the training is stopped."""
        self.bar.stop()
