"""One fit phase as a Lightning module."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import zip_longest
from typing import Any, Self

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import LRSchedulerConfigType, OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import Parameter
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Sampler

from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.data.seeds import seed_of
from scaleprotoseg.data.transforms import TrainingStream
from scaleprotoseg.distributed import rank, world_size
from scaleprotoseg.model.groups import GroupHead
from scaleprotoseg.model.linear import LinearHead
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.output import Output
from scaleprotoseg.model.prototypes import PrototypeHead
from scaleprotoseg.training.losses import (
    Diversity,
    OwnPrototypes,
    Pointing,
    Twins,
    cross_entropy,
    distillation,
    foreign_l1,
    group_entropy,
    upsample,
)
from scaleprotoseg.training.recipe import DataConfig, LossConfig, Phase
from scaleprotoseg.training.stem import Stem
from scaleprotoseg.training.store import View, ViewStore, view_of
from scaleprotoseg.training.tied import TiedPrototypes

POLY_POWER = 0.9
DECAYED = ("encoder", "pyramid")


def parts_of(network: Network) -> dict[str, list[Parameter]]:
    """The parameters of each part a phase may train; see :data:`~scaleprotoseg.training.recipe.PARTS`."""
    parts = {"encoder": list(network.encoder.parameters()), "pyramid": list(network.pyramid.parameters())}
    head = network.head
    if isinstance(head, LinearHead):
        parts["classifier"] = list(head.parameters())
    if isinstance(head, (PrototypeHead, GroupHead)):
        parts |= {"prototypes": [head.prototypes.vectors], "classifier": [head.classifier]}
    if isinstance(head, GroupHead):
        parts["groups"] = [head.weights]
    return parts


def norm_parameters(network: Network) -> set[Parameter]:
    """The scales and shifts of the encoder's normalisation layers."""
    norms = (torch.nn.modules.batchnorm._NormBase, torch.nn.GroupNorm, torch.nn.LayerNorm)
    return {p for layer in network.encoder.modules() if isinstance(layer, norms) for p in layer.parameters()}


def log_every(phase: Phase) -> int:
    """Steps between two lines of a fit's log."""
    return max(1, min(50, phase.steps // 20))


class Remaining(Sampler[int]):
    """The items of a stream that are still to come; of several processes, each gets its part of every batch.

    Its length is that of the whole stream, because Lightning counts the batches of a resumed epoch from its start.

    Args:
        length: Items in the stream.
        done: Items that were used before.
        batch: Items of a batch, over all processes.
    """

    def __init__(self, length: int, done: int, batch: int) -> None:
        self.length = length
        self.done = done
        self.batch = batch

    def __len__(self) -> int:
        return self.length // world_size()

    def __iter__(self) -> Iterator[int]:
        part = self.batch // world_size()
        for start in range(self.done + rank() * part, self.length, self.batch):
            yield from range(start, start + part)


class FitModule(LightningModule):
    """Trains the parts a phase names; everything else stands still.

    Args:
        network: The network; changed in place.
        phase: A phase with ``do: fit``.
        loss: How pixels count.
        class_weights: (C,) weight of each class's pixels, or None.
        stem: What stands still.
        stream: Training pictures, or what stands still of them.
        data: Batch size and workers.
        tied: What the prototypes are read from, if they are tied.
        part_of: (P,) part id that each prototype is to point at, 0 for none, if the phase has ``pointing``.
    """

    class_weights: Tensor | None
    part_of: Tensor | None

    def __init__(
        self,
        network: Network,
        phase: Phase,
        loss: LossConfig,
        class_weights: Tensor | None,
        stem: Stem,
        stream: TrainingStream | ViewStore,
        data: DataConfig,
        tied: TiedPrototypes | None = None,
        part_of: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.phase = phase
        self.loss = loss
        self.stem = stem
        self.stream = stream
        self.data = data
        self.tied = tied
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.register_buffer("part_of", part_of, persistent=False)
        trained = {p for part in phase.learning_rates for p in parts_of(network)[part]}
        if phase.encoder_norm == "frozen":
            trained -= norm_parameters(network)
        for parameter in network.parameters():
            parameter.requires_grad_(parameter in trained)

    def train(self, mode: bool = True) -> Self:
        """Training mode for all but a frozen encoder, which keeps its batch statistics."""
        super().train(mode)
        learns = "encoder" in self.phase.learning_rates and self.phase.encoder_norm == "free"
        self.network.encoder.train(mode and learns)
        return self

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """Loss of one batch: of pictures, with values in 0-255, masks and parts; or of what a store holds of them."""
        view = View(*batch) if isinstance(self.stream, ViewStore) else self._view(batch, batch_index)
        vectors = None if self.tied is None else self.tied()
        outputs = self.stem.outputs([maps.float() for maps in view.clean], vectors)
        twins = self.stem.outputs([maps.float() for maps in view.twin], vectors) if view.twin else []
        losses = dict(self._head_losses())
        for output, twin in zip_longest(outputs, twins):
            cells = resize_labels(view.masks, output.logits.shape[-2:])
            terms = [
                *self._losses(output, view, cells),
                *self._twin_losses(output, twin, view.masks, cells),
                *(("distillation", self.phase.distillation, distillation(output.logits, maps)) for maps in view.taught),
            ]
            for name, weight, value in terms:
                before = losses[name][1] if name in losses else 0.0
                losses[name] = weight, before + value / len(outputs)
        total = torch.stack([weight * value for weight, value in losses.values()]).sum()
        if (self.global_step + 1) % log_every(self.phase) == 0:  # In other steps Lightning writes none.
            shown = {name: value.detach() for name, (_, value) in losses.items()} | {"loss": total.detach()}
            self.log_dict(shown, sync_dist=True)
        return total

    def _view(self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int) -> View:
        """What stands still of a batch, the same for the same seed and place in the stream."""
        pictures, masks, parts = batch
        images = pictures.to(memory_format=torch.channels_last).float() / 255
        generator = torch.Generator().manual_seed(seed_of(self.stream.seed, batch_index, rank()))
        return view_of(self.stem, self.phase, images, masks, parts, generator)

    def _losses(self, output: Output, view: View, cells: Tensor) -> Iterator[tuple[str, float, Tensor]]:
        """Name, weight and value of every loss that looks at a picture."""
        phase = self.phase
        yield "cross_entropy", 1.0, self._cross_entropy(output.logits, view.masks)
        if phase.diversity and output.distances is not None:
            yield "diversity", phase.diversity, Diversity(self._own)(output.distances, cells)
        if self.part_of is not None and output.similarities is not None:
            pointing = Pointing(self._own, self.part_of)(output.similarities, view.parts, cells)
            yield "pointing", phase.pointing, pointing

    def _twin_losses(
        self, output: Output, twin: Output | None, masks: Tensor, cells: Tensor
    ) -> Iterator[tuple[str, float, Tensor]]:
        """The same of every loss that looks at its twin."""
        if twin is None:
            return
        phase = self.phase
        yield "twin_cross_entropy", 1.0, self._cross_entropy(twin.logits, masks)
        if (phase.invariance or phase.redundancy) and output.similarities is not None and twin.similarities is not None:
            invariance, redundancy = Twins(self._own)(output.similarities, twin.similarities, cells)
            yield "invariance", phase.invariance, invariance
            yield "redundancy", phase.redundancy, redundancy

    def _cross_entropy(self, logits: Tensor, masks: Tensor) -> Tensor:
        if self.loss.supervision == "pixels":
            logits = upsample(logits, masks.shape[-2:])
        return cross_entropy(logits, masks, self.class_weights)

    def _head_losses(self) -> Iterator[tuple[str, tuple[float, Tensor]]]:
        """Name, weight and value of every loss on the head's own weights."""
        head, phase = self.network.head, self.phase
        if phase.foreign_l1 and isinstance(head, (PrototypeHead, GroupHead)):
            yield "foreign_l1", (phase.foreign_l1, foreign_l1(head.classifier, head.unit_class))
        if phase.group_entropy and isinstance(head, GroupHead):
            yield "group_entropy", (phase.group_entropy, group_entropy(head.weights, head.valid))

    @cached_property
    def _own(self) -> OwnPrototypes:
        layer = self.network.prototypes
        assert layer is not None
        return OwnPrototypes(layer.prototype_class, layer.prototype_scale, len(self.network.labels))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One optimizer step; groups return to the simplex."""
        super().optimizer_step(*args, **kwargs)
        if isinstance(self.network.head, GroupHead) and "groups" in self.phase.learning_rates:
            self.network.head.project_()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Adam with one named parameter group per part."""
        phase, parts = self.phase, parts_of(self.network)
        groups = [
            {
                "name": name,
                "params": [p for p in parts[name] if p.requires_grad],
                "lr": rate,
                "weight_decay": phase.weight_decay if name in DECAYED else 0.0,
            }
            for name, rate in phase.learning_rates.items()
        ]
        optimizer = torch.optim.Adam(groups, fused=True)

        def factor(step: int) -> float:
            return (1 - min(step, phase.steps - 1) / phase.steps) ** POLY_POWER if phase.decay == "poly" else 1.0

        schedule: LRSchedulerConfigType = {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_train_end(self) -> None:
        """Leaves tied prototypes where their patches lie now."""
        if self.tied is not None:
            self.tied.settle()

    def train_dataloader(self) -> DataLoader[Any]:
        """The stream, from the step the training stands at."""
        done = self.trainer.global_step * self.data.accumulate * self.data.batch_size
        return DataLoader(
            self.stream,
            batch_size=self.data.batch_size // world_size(),
            sampler=Remaining(len(self.stream), done, self.data.batch_size),
            num_workers=self.data.workers,
            persistent_workers=self.data.workers > 0,
        )
