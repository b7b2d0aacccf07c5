"""Weights of torchvision's segmentation models."""

from __future__ import annotations

from pathlib import Path

from scaleprotoseg.formats.deeplab_weights import fill
from scaleprotoseg.formats.torch_file.modules import read_state_dict
from scaleprotoseg.model.network import Network

ENCODER = "backbone."
"""Prefix of the tensors of the encoder; those of classifiers have other prefixes."""


def load_torchvision_encoder(network: Network, path: str | Path) -> None:
    """Initialize the encoder of a network with the weights of a torchvision segmentation model.

    Args:
        network: A network with the encoder of that model; changed in place.
        path: State dict of the model, written by ``torch.save``; classifiers in it are ignored.

    Raises:
        UserError: If the file cannot be read or is of another model.
    """
    path = Path(path)
    state = read_state_dict(path)
    fill(network.encoder.net, {name: tensor for name, tensor in state.items() if name.startswith(ENCODER)}, path)
