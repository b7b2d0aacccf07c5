"""A fit as a Lightning module: the losses of a step and the optimizer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import zip_longest
from typing import Any, NamedTuple, Self

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerConfig, OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim.lr_scheduler import PolynomialLR
from torch.utils.data import DataLoader

from scaleprotoseg.data.labels import VOID
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.data.seeds import seed_of
from scaleprotoseg.distributed import rank
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.output import Output
from scaleprotoseg.training.batches import Batches
from scaleprotoseg.training.copies import Copies
from scaleprotoseg.training.feature_store import View, ViewCache, view_of
from scaleprotoseg.training.fit_settings import FitSettings
from scaleprotoseg.training.frozen import FrozenPrefix
from scaleprotoseg.training.losses.class_cells import OwnPrototypes
from scaleprotoseg.training.losses.diversity import Diversity
from scaleprotoseg.training.losses.locality import Locality, cells_in_windows
from scaleprotoseg.training.losses.noise_consistency import NoiseConsistency
from scaleprotoseg.training.losses.pointing import Pointing
from scaleprotoseg.training.losses.segmentation import PixelLoss, distillation
from scaleprotoseg.training.losses.weights import foreign_l1, group_entropy
from scaleprotoseg.training.tied import TiedPrototypes

POLY_POWER = 0.9
"""Exponent of the ``poly`` decay of learning rates."""

DECAYED = ("encoder", "pyramid")
"""Components with weight decay."""


class Term(NamedTuple):
    """A term of the total loss: its name in the logs, its weight and its value."""

    name: str
    weight: float
    value: Tensor


def components_of(network: Network) -> dict[str, list[Parameter]]:
    """Return the parameters of each component that a fit can train."""
    trunk = {"encoder": list(network.encoder.parameters()), "pyramid": list(network.pyramid.parameters())}
    return trunk | network.head.components()


def norm_parameters(network: Network) -> set[Parameter]:
    """Return the scales and shifts of the encoder's normalization layers."""
    norms = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
    return {p for layer in network.encoder.modules() if isinstance(layer, norms) for p in layer.parameters()}


def log_interval(settings: FitSettings) -> int:
    """Return the number of steps between two lines of a fit's log."""
    return max(1, min(50, settings.steps // 20))


class PrototypeTargets(nn.Module):
    """Training patches and object parts that constrain the prototypes during a fit.

    Args:
        tied: Training patches that the prototypes remain equal to, or None.
        parts: (P,) id of the object part that each prototype is assigned to, 0 for none; or None without pointing.
    """

    parts: Tensor | None

    def __init__(self, tied: TiedPrototypes | None = None, parts: Tensor | None = None) -> None:
        super().__init__()
        self.tied = tied
        self.register_buffer("parts", parts, persistent=False)


class FitModule(LightningModule):
    """Training of the components that have a learning rate; everything else is frozen.

    Args:
        network: The network; changed in place.
        settings: Learning rates and loss weights.
        pixel_loss: The segmentation loss.
        prefix: The frozen part of the network.
        batches: Training items.
        targets: Training patches and object parts of the prototypes.
    """

    def __init__(
        self,
        network: Network,
        settings: FitSettings,
        pixel_loss: PixelLoss,
        prefix: FrozenPrefix,
        batches: Batches,
        targets: PrototypeTargets | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.pixel_loss = pixel_loss
        self.prefix = prefix
        self.batches = batches
        self.targets = targets or PrototypeTargets()
        components = components_of(network)
        trained = {p for name in settings.learning_rates for p in components[name]}
        if settings.encoder_norm == "frozen":
            trained -= norm_parameters(network)
        for parameter in network.parameters():
            parameter.requires_grad_(parameter in trained)

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode, except for a frozen encoder, which keeps its batch statistics."""
        super().train(mode)
        free = "encoder" in self.settings.learning_rates and self.settings.encoder_norm == "free"
        self.network.encoder.train(mode and free)
        return self

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """Compute the total loss of one batch.

        Args:
            batch: Images with values in 0-255, masks and part masks; or the cached views of a :class:`ViewCache`.
            batch_index: Index of the batch, which its noise depends on.
        """
        view = View(*batch) if isinstance(self.batches.stream, ViewCache) else self._view(batch, batch_index)
        vectors = None if self.targets.tied is None else self.targets.tied()
        outputs = self.prefix.outputs([maps.float() for maps in view.clean], vectors)
        noisy, masked = (
            self.prefix.outputs([maps.float() for maps in copy], vectors) if copy else []
            for copy in (view.noisy, view.masked)
        )
        losses = {term.name: (term.weight, term.value) for term in self._head_terms()}
        # If the network also reads resized copies of the images, each loss is the mean over all outputs.
        for versions in zip_longest(outputs, noisy, masked):
            for term in self._terms(*versions, view):
                before = losses[term.name][1] if term.name in losses else 0.0
                losses[term.name] = term.weight, before + term.value / len(outputs)
        total = torch.stack([weight * value for weight, value in losses.values()]).sum()
        if (self.global_step + 1) % log_interval(self.settings) == 0:  # Lightning writes no logs in other steps
            shown = {name: value.detach() for name, (_, value) in losses.items()} | {"loss": total.detach()}
            self.log_dict(shown, sync_dist=True)
        return total

    def _view(self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int) -> View:
        """Run the frozen part on a batch; the noise depends only on seed, process and index of the batch."""
        pixels, masks, parts = batch
        images = pixels.to(memory_format=torch.channels_last).float() / 255
        generator = torch.Generator().manual_seed(seed_of(self.batches.stream.seed, batch_index, rank()))
        copies = Copies(self.settings.noise, self.settings.window)
        return view_of(self.prefix, copies, images, masks, parts, generator)

    def _terms(self, output: Output, noisy: Output | None, masked: Output | None, view: View) -> Iterator[Term]:
        """Yield the terms that depend on the batch, for one output and those of the copies."""
        settings = self.settings
        cells = resize_labels(view.masks, output.logits.shape[-2:])
        yield Term("cross_entropy", 1.0, self.pixel_loss(output.logits, view.masks))
        if settings.diversity and output.distances is not None:
            yield Term("diversity", settings.diversity, Diversity(self._own_prototypes)(output.distances, cells))
        if self.targets.parts is not None and output.similarities is not None:
            pointing = Pointing(self._own_prototypes, self.targets.parts)(output.similarities, view.parts, cells)
            yield Term("pointing", settings.pointing, pointing)
        if noisy is not None:
            yield from self._noise_terms(output, noisy, view.masks, cells)
        if masked is not None:
            yield from self._window_terms(output, masked, view.centers, cells)
        for logits in view.teacher_logits:
            value = distillation(output.logits, logits, self.pixel_loss.class_weights)
            yield Term("distillation", settings.distillation, value)

    def _noise_terms(self, output: Output, noisy: Output, masks: Tensor, cells: Tensor) -> Iterator[Term]:
        """Yield the terms that depend on the noisy copy of the batch."""
        settings = self.settings
        yield Term("noisy_cross_entropy", 1.0, self.pixel_loss(noisy.logits, masks))
        both = (output.similarities, noisy.similarities)
        if (settings.invariance or settings.redundancy) and both[0] is not None and both[1] is not None:
            invariance, redundancy = NoiseConsistency(self._own_prototypes)(both[0], both[1], cells)
            yield Term("invariance", settings.invariance, invariance)
            yield Term("redundancy", settings.redundancy, redundancy)

    def _window_terms(self, output: Output, masked: Output, centers: Tensor, cells: Tensor) -> Iterator[Term]:
        """Yield the terms that depend on the masked copy of the batch, in the middle of its windows."""
        image, cell = cells_in_windows(centers, cells)
        near = torch.full_like(cells, VOID).flatten(1)
        near[image, cell] = cells.flatten(1)[image, cell]
        yield Term("masked_cross_entropy", 1.0, self.pixel_loss(masked.logits, near.view_as(cells)))
        if self.settings.locality and output.similarities is not None and masked.similarities is not None:
            lost = Locality(self._own_prototypes)(output.similarities, masked.similarities, cells, centers)
            yield Term("locality", self.settings.locality, lost)

    def _head_terms(self) -> Iterator[Term]:
        """Yield the terms that depend only on the weights of the head."""
        head, settings = self.network.head.prototypical, self.settings
        if head is None:
            return
        if settings.foreign_l1:
            yield Term("foreign_l1", settings.foreign_l1, foreign_l1(head.classifier, head.unit_class))
        if settings.group_entropy and head.group_weights is not None:
            yield Term("group_entropy", settings.group_entropy, group_entropy(*head.group_weights))

    @cached_property
    def _own_prototypes(self) -> OwnPrototypes:
        layer = self.network.prototype_head.prototypes
        return OwnPrototypes(layer.prototype_class, layer.prototype_scale, len(self.network.labels))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take one optimizer step, and move the parameters of the head back into their domain."""
        super().optimizer_step(*args, **kwargs)
        self.network.head.constrain_(self.settings.learning_rates.keys())

    def configure_optimizers(self) -> OptimizerConfig | OptimizerLRSchedulerConfig:
        """Build Adam with one named parameter group per component."""
        settings, components = self.settings, components_of(self.network)
        groups = [
            {
                "name": name,
                "params": [p for p in components[name] if p.requires_grad],
                "lr": rate,
                "weight_decay": settings.weight_decay if name in DECAYED else 0.0,
            }
            for name, rate in settings.learning_rates.items()
        ]
        optimizer = torch.optim.Adam(groups, fused=True)
        if settings.decay == "constant":
            return {"optimizer": optimizer}
        scheduler = PolynomialLR(optimizer, settings.steps, POLY_POWER)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_end(self) -> None:
        """Set tied prototypes to the latent vectors of their patches."""
        if self.targets.tied is not None:
            self.targets.tied.settle()

    def train_dataloader(self) -> DataLoader[Any]:
        """Return a loader of the training items from the current step on."""
        return self.batches.loader(self.trainer.global_step)
