"""Initial weights of an encoder (warm start), from a bundle or from a weight file."""

from __future__ import annotations

from pathlib import Path

from scaleprotoseg.errors import UserError, first_line
from scaleprotoseg.formats.bundle import load
from scaleprotoseg.formats.deeplab_weights import load_deeplab_encoder
from scaleprotoseg.formats.torchvision_weights import load_torchvision_encoder
from scaleprotoseg.model.encoders.torchvision_models import TORCHVISION
from scaleprotoseg.model.network import Network

WEIGHT_FILES = (".pth", ".pth.tar")
"""Endings of weight files."""


def is_weight_file(name: str) -> bool:
    """Return True if a warm start is a weight file; otherwise it is a bundle.

    >>> is_weight_file("deeplabv1_resnet101-coco.pth"), is_weight_file("runs/black-box/model")
    (True, False)
    """
    return name.endswith(WEIGHT_FILES) and not Path(name).is_dir()


def load_encoder(network: Network, name: str) -> None:
    """Initialize the encoder of a network with trained weights.

    Args:
        network: The network; changed in place.
        name: Folder or Hub id of a bundle, or a ``.pth`` file. The file is of a torchvision segmentation model if the
            network has the encoder of such a model, else of DeepLab.

    Raises:
        UserError: If it cannot be read, or has another encoder.
    """
    if not is_weight_file(name):
        _load_from_bundle(network, name)
    elif network.config.encoder.name.startswith(TORCHVISION):
        load_torchvision_encoder(network, name)
    else:
        load_deeplab_encoder(network, name)


def _load_from_bundle(network: Network, name: str) -> None:
    other = load(name)
    if other.config.encoder.name != network.config.encoder.name:
        raise UserError(
            f"{name}: its encoder is {other.config.encoder.name}, but the recipe's is {network.config.encoder.name}; "
            "use the same encoder for both"
        )
    try:
        network.encoder.load_state_dict(other.encoder.state_dict())
    except RuntimeError as error:
        raise UserError(f"{name}: its encoder does not fit ({first_line(error)}); use the same stage") from error
