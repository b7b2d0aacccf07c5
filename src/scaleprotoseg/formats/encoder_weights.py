"""Initial weights of an encoder, from a bundle (warm start) or from a weight file."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from scaleprotoseg.errors import UserError, first_line
from scaleprotoseg.formats.black_boxes import is_foreign, load_model
from scaleprotoseg.formats.deeplab_weights import load_deeplab_encoder
from scaleprotoseg.formats.torch_file.modules import read_state_dict
from scaleprotoseg.model.encoders.caffe_resnet import CAFFE
from scaleprotoseg.model.network import Network

log = logging.getLogger(__name__)

WEIGHT_FILES = (".pth", ".pth.tar", ".safetensors")
"""Endings of weight files."""

CLASSIFIERS = re.compile(
    r"^(.*\.)?(fc|head|heads|classifier|aux_classifier|low_classifier|high_classifier|last_linear|conv_head|"
    r"decode_head|auxiliary_head|segmentation_head)\."
)
"""Names of tensors that belong to classifiers, in timm, torchvision and others."""

PREFIX = re.compile(r"^((module|model|net|backbone|encoder|features)\.)+")
"""Prefixes under which libraries store the tensors of an encoder."""

MAX_NAMED = 3
"""Largest number of tensors that a message names."""


def is_weight_file(name: str) -> bool:
    """Return True if a warm start is a weight file; otherwise it is a whole model.

    >>> is_weight_file("deeplabv1_resnet101-coco.pth"), is_weight_file("runs/black-box/model")
    (True, False)
    """
    return name.endswith(WEIGHT_FILES) and not is_foreign(name) and not Path(name).is_dir()


def load_encoder(network: Network, name: str) -> None:
    """Initialize the encoder of a network with trained weights.

    Args:
        network: The network; changed in place.
        name: Folder or Hub id of a bundle, or a weight file.

    Raises:
        UserError: If it cannot be read, or has another encoder.
    """
    if not is_weight_file(name):
        _load_from_bundle(network, name)
    elif network.config.encoder.name.startswith(CAFFE):
        load_deeplab_encoder(network, name)
    else:
        load_weight_file(network, Path(name))


def load_weight_file(network: Network, path: Path) -> None:
    """Initialize the encoder of a network with the tensors in a file.

    The names may be those of timm, of torchvision or of a bundle of this library, with or without a prefix such as
    ``backbone.`` or ``module.``. Tensors that the encoder does not have are ignored: those of classifiers silently,
    others with a line in the log, because an encoder that ends at an earlier stage leaves the later ones out.

    Args:
        network: The network; changed in place.
        path: A ``.safetensors`` file, or a state dict that ``torch.save`` wrote.

    Raises:
        UserError: If the file cannot be read, or a tensor of the encoder is missing or has another shape.
    """
    given = _read(path)
    own = network.encoder.net.state_dict()
    by_name = {_plain(name): name for name in given if not CLASSIFIERS.match(name)}
    if len(by_name) < sum(not CLASSIFIERS.match(name) for name in given):
        by_name = {name: name for name in given}  # plain names are ambiguous
    found = {name: by_name[key] for name in own for key in (name, _plain(name)) if key in by_name}
    needed = [name for name in own if not name.endswith("num_batches_tracked")]
    if missing := [name for name in needed if name not in found]:
        raise UserError(
            f"{path}: lacks {len(missing)} of {len(needed)} tensors of {network.config.encoder.name} "
            f"({_some(missing)}), and has {_some(given)}; give weights of the same encoder"
        )
    for name, source in found.items():
        if given[source].shape != own[name].shape:
            raise UserError(
                f"{path}: {source} has shape {tuple(given[source].shape)} instead of {tuple(own[name].shape)}; give "
                f"weights of {network.config.encoder.name} with the same widths and input channels"
            )
        own[name].copy_(given[source])
    if unused := [name for name in given if name not in found.values() and not CLASSIFIERS.match(name)]:
        log.info("%s: %d tensors are not used (%s)", path, len(unused), _some(unused))


def _read(path: Path) -> Mapping[str, Tensor]:
    """Read the tensors of a weight file by name."""
    if path.suffix != ".safetensors":
        return read_state_dict(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the path")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read ({first_line(error)}); download or save it again") from error


def _plain(name: str) -> str:
    """Return the name of a tensor without prefixes, and with dots for the underscores of flattened timm models."""
    return PREFIX.sub("", name).replace("_", ".")


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def _load_from_bundle(network: Network, name: str) -> None:
    other = load_model(name)
    if other.config.encoder.name != network.config.encoder.name:
        raise UserError(
            f"{name}: its encoder is {other.config.encoder.name}, but the recipe's is {network.config.encoder.name}; "
            "use the same encoder for both"
        )
    try:
        network.encoder.load_state_dict(other.encoder.state_dict())
    except RuntimeError as error:
        raise UserError(f"{name}: its encoder does not fit ({first_line(error)}); use the same stage") from error
