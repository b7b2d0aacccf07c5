"""Weights of torchvision's segmentation models."""

from __future__ import annotations

from pathlib import Path

from scaleprotoseg.model.deeplab_weights import fill
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.torch_file.modules import read_state_dict

ENCODER = "backbone."
"""What the names of an encoder's tensors begin with; those of classifiers begin otherwise."""


def load_torchvision_encoder(network: Network, path: str | Path) -> None:
    """Starts a network's encoder from weights of one of torchvision's segmentation models (warm start).

    Args:
        network: With the encoder of that model; changed in place.
        path: The model's state dict in a file of ``torch.save``; classifiers in it are passed over.

    Raises:
        UserError: If the file cannot be read or is of another model.
    """
    path = Path(path)
    fill(network.encoder.net, {name: t for name, t in read_state_dict(path).items() if name.startswith(ENCODER)}, path)
