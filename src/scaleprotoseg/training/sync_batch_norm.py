"""Batch norm over all GPUs, for encoders whose batch norm layers include an activation."""

from __future__ import annotations

from lightning.pytorch.plugins.layer_sync import LayerSync
from timm.layers.norm_act import convert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class SyncNorms(LayerSync):
    """A plugin that synchronizes the batch norms of a model during training, and restores the originals afterwards.

    Lightning's own implementation drops the activation that many of timm's batch norms include.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace every batch norm."""
        self._originals: list[tuple[nn.Module, str, nn.Module]] = [
            (parent, name, child)
            for parent in model.modules()
            for name, child in parent.named_children()
            if isinstance(child, _BatchNorm)
        ]
        for parent, name, child in self._originals:
            setattr(parent, name, convert_sync_batchnorm(child))  # type: ignore[no-untyped-call]
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Restore the original batch norms, with the statistics of their replacements."""
        for parent, name, child in self._originals:
            child.load_state_dict(parent.get_submodule(name).state_dict())
            setattr(parent, name, child)
        return model
