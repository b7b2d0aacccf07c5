"""Trained models by name: bundles of this library, and whole segmentation models of other libraries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar, overload

import torch
from torch import Tensor, nn

from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.errors import UserError
from scaleprotoseg.formats import bundle
from scaleprotoseg.formats.deeplab_weights import fill
from scaleprotoseg.formats.torch_file.modules import read_state_dict
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.encoders.classifier_input import ClassifierInput, Description
from scaleprotoseg.model.encoders.torchvision_models import TORCHVISION
from scaleprotoseg.model.network import Network

DESCRIPTIONS: dict[str, str] = {
    "torchvision/": "scaleprotoseg.model.encoders.torchvision_models:describe",
    "transformers/": "scaleprotoseg.model.encoders.transformers_models:describe",
    "smp/": "scaleprotoseg.model.encoders.smp_models:describe",
}
"""Functions that describe the models of other libraries, by the prefix of a model's name."""

_Kind = TypeVar("_Kind", bound=Network)


def is_foreign(name: str) -> bool:
    """Return True if a name is that of a segmentation model of another library."""
    return name.startswith(tuple(DESCRIPTIONS))


def without_file(name: str) -> tuple[str, str]:
    """Split the weight file off the name of a torchvision model; the names of other models are returned whole.

    >>> without_file("torchvision/fcn_resnet50:trained.pth"), without_file("timm/hf-hub:timm/resnet18.a1_in1k")
    (('torchvision/fcn_resnet50', 'trained.pth'), ('timm/hf-hub:timm/resnet18.a1_in1k', ''))
    """
    model, _, file = name.partition(":")
    return (model, file) if name.startswith(TORCHVISION) else (name, "")


@overload
def load_model(name: str | Path, **hub_arguments: Any) -> Network: ...
@overload
def load_model(name: str | Path, kind: type[_Kind], **hub_arguments: Any) -> _Kind: ...
def load_model(name: str | Path, kind: Any = Network, **hub_arguments: Any) -> Any:
    """Load a bundle, or a segmentation model of another library.

    Args:
        name: Folder or Hub id of a bundle; or ``transformers/``, ``torchvision/`` or ``smp/`` and the name of a model
            of that library. A colon and a ``.pth`` file may follow the name of a torchvision model: its state dict.
        kind: Class of the network.
        **hub_arguments: Passed to ``huggingface_hub.snapshot_download`` for the Hub id of a bundle.

    Returns:
        The network in eval mode on the CPU. A model of another library becomes a black box whose encoder returns the
        features that its last classifier reads, and whose pyramid is this classifier.

    Raises:
        NoClassifierError: If the class scores of a model of another library are not those of one last convolution.
        UserError: If there is no such model, or it is damaged.
    """
    if not is_foreign(str(name)):
        return bundle.load(name, kind, **hub_arguments)
    name, file = without_file(str(name))
    state = _read_weights(Path(file)) if file else {}
    described = describe(name, state)
    architecture = {"num_classes": len(described.classes)} if file else {}
    encoder = EncoderConfig(name, "classifier", pretrained=not file, pad=described.pad, architecture=architecture)
    config = NetworkConfig(encoder, PyramidConfig((0,)), HeadConfig("direct"), described.input)
    labels = LabelTable.from_json({"classes": list(described.classes)}, name)
    network = kind(config, labels, Path(name).name)
    if file:
        fill(_model_in(network).model, state, Path(file))
    _copy_classifier(network)
    return network.eval()


def describe(name: str, state: Mapping[str, Tensor] | None = None) -> Description:
    """Return what a model of another library expects and predicts.

    Args:
        name: Name of the model, with the prefix of its library.
        state: Weights of the model, if they are not those of the library; their classes have no names if there are more
            or fewer than in the library's weights.

    Raises:
        UserError: If there is no such model.
    """
    path = next(path for prefix, path in DESCRIPTIONS.items() if name.startswith(prefix))
    description: Description = resolve_name(path)(name)
    if state:
        *_, last = (tensor for key, tensor in state.items() if key.startswith("classifier.") and tensor.ndim == 4)
        if len(last) != len(description.classes):
            return description._replace(classes=tuple(f"class {index}" for index in range(len(last))))
    return description


def _read_weights(path: Path) -> dict[str, Tensor]:
    """Read the state dict of a torchvision model, without its auxiliary classifier."""
    state = {name: tensor for name, tensor in read_state_dict(path).items() if not name.startswith("aux_")}
    if not any(name.startswith("classifier.") and tensor.ndim == 4 for name, tensor in state.items()):
        raise UserError(f"{path}: has no classifier, so it is no torchvision segmentation model; give its state dict")
    return state


def _model_in(network: Network) -> ClassifierInput:
    encoder = network.encoder.net
    assert isinstance(encoder, ClassifierInput)
    return encoder


@torch.no_grad()
def _copy_classifier(network: Network) -> None:
    """Make the classifier of the encoder's model the pyramid of the network."""
    classifier = _model_in(network).classifier
    network.rebuild(replace(network.config.pyramid, dilations=(int(classifier.padding[0]),)), network.config.head)
    branch = network.pyramid.branches[0]
    assert isinstance(branch, nn.Conv2d)
    assert branch.bias is not None
    branch.weight.copy_(classifier.weight)
    branch.bias.copy_(torch.zeros(len(branch.bias)) if classifier.bias is None else classifier.bias)
