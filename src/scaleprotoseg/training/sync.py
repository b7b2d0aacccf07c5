"""Batch norm over all GPUs, for encoders whose batch norm holds more than batch norm."""

from __future__ import annotations

from lightning.pytorch.plugins.layer_sync import LayerSync
from timm.layers.norm_act import convert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class SyncNorms(LayerSync):
    """Puts synchronised batch norms in the places of a model's own, and the very same ones back afterwards.

    Lightning's way loses the activation that many of timm's batch norms include.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Replaces every batch norm."""
        self._own: list[tuple[nn.Module, str, nn.Module]] = [
            (parent, name, child)
            for parent in model.modules()
            for name, child in parent.named_children()
            if isinstance(child, _BatchNorm)
        ]
        for parent, name, child in self._own:
            setattr(parent, name, convert_sync_batchnorm(child))  # type: ignore[no-untyped-call]
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Puts them back, with the statistics of the replacements."""
        for parent, name, child in self._own:
            child.load_state_dict(parent.get_submodule(name).state_dict())
            setattr(parent, name, child)
        return model
