"""Progress bars: for a fit phase, and for a pass over pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from rich import get_console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track

from scaleprotoseg.distributed import is_main


def over_pictures(what: str) -> Callable[[Iterable[int]], Iterable[int]]:
    """A progress bar to wrap picture indices with; of several processes the main one shows it, in a terminal."""
    return lambda indices: track(list(indices), description=what, transient=True, disable=_is_hidden())


def _is_hidden() -> bool:
    return not (is_main() and get_console().is_terminal)  # In a file a bar would leave nothing but blank lines.


class PhaseProgress(Callback):
    """Shows optimizer steps, time left and the last loss, in a terminal.

    Args:
        name: The phase's name.
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
            disable=_is_hidden(),
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the bar at the step the training stands at."""
        self.task = self.bar.add_task(
            self.name, total=trainer.max_steps, completed=trainer.global_step, loss=float("nan")
        )
        self.bar.start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        """Moves the bar."""
        self.bar.update(
            self.task, completed=trainer.global_step, loss=float(outputs["loss"]) * trainer.accumulate_grad_batches
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the bar away."""
        self.bar.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Takes the bar away when training is stopped."""
        self.bar.stop()
