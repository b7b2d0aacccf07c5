"""Trained models by name: bundles of this library, and whole segmentation models of other libraries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar, overload

import torch
from torch import nn

from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.formats import bundle
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.encoders.classifier_input import ClassifierInput, Description
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


@overload
def load_model(name: str | Path, **hub_arguments: Any) -> Network: ...
@overload
def load_model(name: str | Path, kind: type[_Kind], **hub_arguments: Any) -> _Kind: ...
def load_model(name: str | Path, kind: Any = Network, **hub_arguments: Any) -> Any:
    """Load a bundle, or a segmentation model of another library.

    Args:
        name: Folder or Hub id of a bundle; or ``transformers/``, ``torchvision/`` or ``smp/`` and the name of a model
            of that library.
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
    described = describe(str(name))
    encoder = EncoderConfig(str(name), "classifier", pretrained=True, pad=described.pad)
    config = NetworkConfig(encoder, PyramidConfig((0,)), HeadConfig("direct"), described.input)
    labels = LabelTable.from_json({"classes": list(described.classes)}, str(name))
    network = kind(config, labels, Path(str(name)).name)
    _copy_classifier(network)
    return network.eval()


def describe(name: str) -> Description:
    """Return what a model of another library expects and predicts.

    Raises:
        UserError: If there is no such model.
    """
    path = next(path for prefix, path in DESCRIPTIONS.items() if name.startswith(prefix))
    description: Description = resolve_name(path)(name)
    return description


@torch.no_grad()
def _copy_classifier(network: Network) -> None:
    """Make the classifier of the encoder's model the pyramid of the network."""
    encoder = network.encoder.net
    assert isinstance(encoder, ClassifierInput)
    classifier = encoder.classifier
    network.rebuild(replace(network.config.pyramid, dilations=(int(classifier.padding[0]),)), network.config.head)
    branch = network.pyramid.branches[0]
    assert isinstance(branch, nn.Conv2d)
    assert branch.bias is not None
    branch.weight.copy_(classifier.weight)
    branch.bias.copy_(torch.zeros(len(branch.bias)) if classifier.bias is None else classifier.bias)
