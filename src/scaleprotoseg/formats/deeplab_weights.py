"""Weights of DeepLabv2: their names in its PyTorch version, and the image values that the Caffe release expects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from scaleprotoseg.errors import UserError
from scaleprotoseg.formats.torch_file.modules import read_state_dict
from scaleprotoseg.model.encoders.caffe_resnet import CAFFE
from scaleprotoseg.model.network import Network

CAFFE_MEAN = (104.008, 116.669, 122.675)
"""Channel means that networks from Caffe expect to be subtracted from images in 0-255; blue comes first."""

_STEM = re.compile(r"layer1\.conv1\.(conv|bn)\.(.+)")
_BLOCK = re.compile(r"layer([2-5])\.block([1-9]\d*)\.(reduce|conv3x3|increase|shortcut)\.(conv|bn)\.(.+)")
_CONVOLUTIONS = {"reduce": 1, "conv3x3": 2, "increase": 3}


def encoder_key(name: str) -> str | None:
    """Return the name in timm's ResNet of a tensor or module of DeepLabv2; None if it has no counterpart.

    Args:
        name: Name in DeepLabv2, in which the stem is layer 1 and the first block of a stage is block 1.

    >>> encoder_key("layer3.block2.conv3x3.bn.weight")
    'layer2.1.bn2.weight'
    """
    if stem := _STEM.fullmatch(name):
        return f"{stem[1]}1.{stem[2]}"
    if block := _BLOCK.fullmatch(name):
        stage, position, unit, kind, rest = block.groups()
        prefix = f"layer{int(stage) - 1}.{int(position) - 1}"
        if unit == "shortcut":
            return f"{prefix}.downsample.{0 if kind == 'conv' else 1}.{rest}"
        return f"{prefix}.{kind}{_CONVOLUTIONS[unit]}.{rest}"
    return None


def load_deeplab_encoder(network: Network, path: str | Path) -> None:
    """Initialize the encoder of a network with DeepLab weights that come from Caffe.

    These weights expect images in 0-255, blue first, minus their channel means. Our networks read (v - mean) / std with
    v in 0-1, red first. The first convolution and its batch norm are changed to account for the difference, which is
    exact except for the padding at the border of the image.

    Args:
        network: A network with an encoder such as ``caffe_resnet101``; changed in place.
        path: State dict of kazuto1011/deeplab-pytorch, such as ``deeplabv1_resnet101-coco.pth``; classifiers in it are
            ignored.

    Raises:
        UserError: If the file cannot be read, or has another encoder.
    """
    path = Path(path)
    config = network.config
    if not config.encoder.name.startswith(CAFFE):
        raise UserError(
            f"{path}: DeepLab weights are for caffe_resnet101, but the recipe's encoder is {config.encoder.name}; "
            "set network.encoder.name"
        )
    state = read_state_dict(path)
    named = {encoder_key(name.removeprefix("base.")): tensor for name, tensor in state.items()}
    tensors = {name: tensor for name, tensor in named.items() if name is not None}
    stem = tensors.get("conv1.weight")
    if len(config.input.mean) != 3 or (stem is not None and (stem.ndim != 4 or stem.shape[1] != 3)):
        raise UserError(f"{path}: DeepLab weights read red, green and blue; give network.input three channels")
    if {"conv1.weight", "bn1.running_mean"} <= tensors.keys():
        _adapt_to_normalized_rgb(tensors, config.input.mean, config.input.std)
    fill(network.encoder.net, tensors, path)


def fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy tensors into a module, which must have exactly these tensors.

    Args:
        module: The module; changed in place.
        tensors: Tensors by their names in the module; counters of batches may be missing.
        path: File of the tensors, for messages.

    Raises:
        UserError: If a tensor is missing, one does not belong to the module, or a shape differs.
    """
    own = module.state_dict()
    excess = sorted(tensors.keys() - own.keys())
    missing = [name for name in own if name not in tensors and not name.endswith("num_batches_tracked")]
    if excess or missing:
        what = f"nothing for {missing[0]}" if missing else f"{excess[0]} in excess"
        raise UserError(f"{path}: is of another architecture ({what}); give weights of the same blocks")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise UserError(
                f"{path}: is of another architecture ({name} has shape {tuple(tensor.shape)} instead of "
                f"{tuple(own[name].shape)}); give weights of the same widths"
            )
        own[name].copy_(tensor)


def _adapt_to_normalized_rgb(tensors: dict[str, Tensor], mean: Sequence[float], std: Sequence[float]) -> None:
    """Change the stem, in place, to read normalized RGB images instead of BGR images minus :data:`CAFFE_MEAN`."""
    weight = tensors["conv1.weight"].double().flip(1)
    # Channel by channel, the input x of our network is the input 255 * (std * x + mean) - CAFFE_MEAN of Caffe's.
    scale = 255 * torch.tensor(std, dtype=torch.double)
    shift = 255 * torch.tensor(mean, dtype=torch.double) - torch.tensor(CAFFE_MEAN, dtype=torch.double).flip(0)
    tensors["conv1.weight"] = weight * scale[:, None, None]
    tensors["bn1.running_mean"] = tensors["bn1.running_mean"] - torch.einsum("ocij,c->o", weight, shift)
