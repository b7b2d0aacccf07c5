"""Untrained networks for the toy images."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from scaleprotoseg.model.config import EncoderConfig, HeadConfig, InputConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.heads.groups import GroupHead
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.pyramid import Pyramid
from scaleprotoseg.training.projection import project
from tests.builders.encoders import Patches
from tests.builders.images import LABELS, Toys


def small_network(fuse: str = "keep", groups: int = 0, **changes: Any) -> Network:
    """Two prototypes per class and scale over a small ResNet, in groups if asked; ``changes`` are input options."""
    torch.manual_seed(0)
    config = NetworkConfig(
        EncoderConfig("resnet10t", stage=2),
        PyramidConfig((1, 2), channels=8, fuse=fuse),
        HeadConfig(prototypes=2),
        InputConfig(**changes),
    )
    network = Network(config, LABELS)
    if groups:
        network.replace_head(GroupHead.over(network.head, groups), network.sources)
    return network.eval()


def projected_network(**changes: Any) -> Network:
    """A small network whose prototypes are training patches, in two groups per class."""
    network = small_network(**changes)
    project(network, Toys(3))
    network.replace_head(GroupHead.over(network.head, 2), network.sources)
    return network


def black_box(kind: str = "direct", encoder: str = "resnet10t") -> Network:
    """A small network without prototypes."""
    torch.manual_seed(1)
    config = NetworkConfig(EncoderConfig(encoder, stage=2), PyramidConfig((1, 2)), HeadConfig(kind))
    return Network(config, LABELS, "box").eval()


def patch_network(encoder: nn.Module, channels: int, dilations: tuple[int, ...] = (1, 2), **changes: Any) -> Network:
    """A network with two prototypes per class and scale over any encoder with this number of channels."""
    torch.manual_seed(0)
    config = NetworkConfig(
        EncoderConfig("unet16"), PyramidConfig(dilations, channels=8), HeadConfig(prototypes=2), InputConfig(**changes)
    )
    network = Network(config, LABELS)
    network.encoder, network.pyramid = encoder, Pyramid(channels, config.pyramid)
    for branch in network.pyramid.branches:
        nn.init.normal_(branch.weight, std=0.3)
    return network.eval()


def grouped_network(**changes: Any) -> Network:
    """Two groups per class; some prototypes are in none of them."""
    network = patch_network(Patches(), 6, **changes)
    head = GroupHead.over(network.head, 2)
    with torch.no_grad():
        head.weights[:, :, 1] = 0
        head.classifier.normal_()
    network.replace_head(head, network.sources)
    return network
