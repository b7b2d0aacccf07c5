"""Weights of DeepLabv2 as its PyTorch version names them, and what the Caffe release expects of a picture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.encoder import CAFFE
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.torch_file.modules import read_state_dict

CAFFE_MEAN = (104.008, 116.669, 122.675)
"""Taken off pictures in 0-255, blue first, before they enter a network from Caffe."""

WEIGHT_FILES = (".pth", ".pth.tar")

_STEM = re.compile(r"layer1\.conv1\.(conv|bn)\.(.+)")
_BLOCK = re.compile(r"layer([2-5])\.block([1-9]\d*)\.(reduce|conv3x3|increase|shortcut)\.(conv|bn)\.(.+)")
_CONVOLUTIONS = {"reduce": 1, "conv3x3": 2, "increase": 3}


def is_weight_file(name: str) -> bool:
    """Whether a warm start names a file of weights; anything else is a bundle."""
    return name.endswith(WEIGHT_FILES) and not Path(name).is_dir()


def encoder_key(name: str) -> str | None:
    """What timm's ResNet calls a tensor (or module) of DeepLabv2's; None if it has no such thing.

    Args:
        name: Such as ``layer3.block2.conv3x3.bn.weight``; stages count from the stem, blocks from 1.
    """
    if stem := _STEM.fullmatch(name):
        return f"{stem[1]}1.{stem[2]}"
    if block := _BLOCK.fullmatch(name):
        stage, position, part, kind, rest = block.groups()
        place = f"layer{int(stage) - 1}.{int(position) - 1}"
        if part == "shortcut":
            return f"{place}.downsample.{0 if kind == 'conv' else 1}.{rest}"
        return f"{place}.{kind}{_CONVOLUTIONS[part]}.{rest}"
    return None


def load_deeplab_encoder(network: Network, path: str | Path) -> None:
    """Starts a network's encoder from DeepLab weights that come from Caffe (warm start).

    These expect pictures in 0-255, blue first, less their means. Ours see (v - mean) / std with v in 0-1, red first;
    the difference goes into the first convolution and its batch norm, which is exact but for the padding at the
    picture's border.

    Args:
        network: With an encoder such as ``caffe_resnet101``; changed in place.
        path: A state dict of kazuto1011/deeplab-pytorch, such as ``deeplabv1_resnet101-coco.pth``; classifiers in it
            are passed over.

    Raises:
        UserError: If the file cannot be read or its encoder differs.
    """
    path = Path(path)
    config = network.config
    if not config.encoder.name.startswith(CAFFE):
        raise UserError(
            f"{path}: DeepLab weights are for caffe_resnet101, the recipe's encoder is {config.encoder.name}; "
            "set network.encoder.name"
        )
    state = read_state_dict(path)
    named = {encoder_key(name.removeprefix("base.")): tensor for name, tensor in state.items()}
    tensors = {name: tensor for name, tensor in named.items() if name is not None}
    stem = tensors.get("conv1.weight")
    if len(config.input.mean) != 3 or (stem is not None and (stem.ndim != 4 or stem.shape[1] != 3)):
        raise UserError(f"{path}: DeepLab weights read red, green and blue; give network.input three channels")
    if {"conv1.weight", "bn1.running_mean"} <= tensors.keys():
        _expect_normalised_rgb(tensors, config.input.mean, config.input.std)
    fill(network.encoder.net, tensors, path)


def fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copies tensors into a module, which must have exactly these.

    Args:
        module: Changed in place.
        tensors: By the module's own names; counts of batches may be missing.
        path: The file they come from.

    Raises:
        UserError: If one is missing, one is left over, or a shape differs.
    """
    own = module.state_dict()
    left = sorted(tensors.keys() - own.keys())
    missing = [name for name in own if name not in tensors and not name.endswith("num_batches_tracked")]
    if left or missing:
        what = f"nothing for {missing[0]}" if missing else f"{left[0]} in excess"
        raise UserError(f"{path}: is of another architecture ({what}); give weights of the same blocks")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise UserError(
                f"{path}: is of another architecture ({name} has shape {tuple(tensor.shape)} instead of "
                f"{tuple(own[name].shape)}); give weights of the same widths"
            )
        own[name].copy_(tensor)


def _expect_normalised_rgb(tensors: dict[str, Tensor], mean: Sequence[float], std: Sequence[float]) -> None:
    weight = tensors["conv1.weight"].double().flip(1)
    # A Caffe picture is 255 * (std * x + mean) - CAFFE_MEAN of our x, channel by channel.
    scale = 255 * torch.tensor(std, dtype=torch.double)
    shift = 255 * torch.tensor(mean, dtype=torch.double) - torch.tensor(CAFFE_MEAN, dtype=torch.double).flip(0)
    tensors["conv1.weight"] = weight * scale[:, None, None]
    tensors["bn1.running_mean"] = tensors["bn1.running_mean"] - torch.einsum("ocij,c->o", weight, shift)
