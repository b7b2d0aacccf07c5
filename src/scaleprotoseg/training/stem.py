"""What stands still in a phase, and what is computed on top of it in every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call

from scaleprotoseg.model.network import Network
from scaleprotoseg.model.output import Output
from scaleprotoseg.training.recipe import Phase

Level = Literal["pictures", "features", "similarities"]
"""Where a phase begins to learn: at pictures if it trains the encoder, at the encoder's features if it trains what
follows, at similarities if it trains only what combines them."""


def level_of(network: Network, phase: Phase) -> Level:
    """Where a phase begins to learn."""
    if "encoder" in phase.learning_rates:
        return "pictures"
    beneath = "pyramid" in phase.learning_rates or "prototypes" in phase.learning_rates
    return "features" if beneath or network.prototypes is None else "similarities"


def _sees_alike(network: Network, teacher: Network) -> bool:
    """Whether both give the same features."""
    built = [(replace(config.encoder, pretrained=False), config.input) for config in (network.config, teacher.config)]
    ours, theirs = network.encoder.state_dict(), teacher.encoder.state_dict()
    return built[0] == built[1] and all(torch.equal(ours[name], theirs[name]) for name in ours)


class Stem:
    """The part of a network that stands still in a phase, as one function, and the rest as another.

    Args:
        network: The network.
        level: What the first function gives.
        teacher: Another network of the same classes, which stands still as a whole.
    """

    def __init__(self, network: Network, level: Level, teacher: Network | None = None) -> None:
        self.network = network
        self.level = level
        self.teacher = teacher
        self.features_teach = level == "features" and teacher is not None and _sees_alike(network, teacher)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> list[Tensor]:
        """What stands still: one tensor for every reading of the pictures (one without further input scales).

        Args:
            images: (B, channels, H, W) in 0-1.

        Returns:
            The pictures as they are; or (B, channels, h, w) features; or (B, P, h, w) similarities.
        """
        network = self.network
        if self.level == "pictures":
            return [images]
        features = network.features(images)
        if self.level == "features":
            return features
        similarities = (network.head(maps).similarities for maps in network.read(features))
        return [maps for maps in similarities if maps is not None]

    @torch.no_grad()
    def taught(self, images: Tensor, still: Sequence[Tensor]) -> list[Tensor]:
        """The teacher's (B, C, h, w) logits, as the only element; nothing without a teacher.

        Args:
            images: (B, channels, H, W) in 0-1.
            still: What calling this stem with them gave; read if the teacher's encoder would give the same.
        """
        teacher = self.teacher
        if teacher is None:
            return []
        features = still if self.features_teach else teacher.features(images)
        return [teacher.head(teacher.read(features)[-1]).logits]

    def outputs(self, still: Sequence[Tensor], vectors: Tensor | None = None) -> list[Output]:
        """The network's output for every reading.

        Args:
            still: What calling this stem gave.
            vectors: (P, D) prototypes in the place of the network's own.
        """
        head = self.network.head
        if self.level == "similarities":
            return [head.decide(maps) for maps in still]  # type: ignore[operator]  # only heads with prototypes come here
        features = self.network.features(still[0]) if self.level == "pictures" else still
        given = {} if vectors is None else {"prototypes.vectors": vectors}
        return [functional_call(head, given, (maps,)) for maps in self.network.read(features)]
