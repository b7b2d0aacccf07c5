"""The frozen and the trained part of a network in a fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call

from scaleprotoseg.model.network import Network
from scaleprotoseg.model.output import Output
from scaleprotoseg.training.fit_settings import FitSettings

Level = Literal["images", "features", "similarities"]
"""Input of the trained part: images if the encoder is trained, features if pyramid or prototypes are trained, and
similarities if only the weights after them are trained."""


def frozen_level(network: Network, settings: FitSettings) -> Level:
    """Return the input of the part of a network that a fit trains."""
    if "encoder" in settings.learning_rates:
        return "images"
    changes_similarities = "pyramid" in settings.learning_rates or "prototypes" in settings.learning_rates
    return "features" if changes_similarities or network.prototypes is None else "similarities"


class FrozenPrefix:
    """A network split in two: the frozen part as one function, the trained part as another.

    Args:
        network: The network.
        level: Output of the frozen part.
        teacher: A frozen network with the same classes, or None.
    """

    def __init__(self, network: Network, level: Level, teacher: Network | None = None) -> None:
        self.network = network
        self.level = level
        self.teacher = teacher
        self.shares_features = level == "features" and teacher is not None and _same_encoder(network, teacher)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> list[Tensor]:
        """Run the frozen part.

        Args:
            images: (B, channels, H, W) in 0-1.

        Returns:
            The (B, channels, H, W) images, (B, channels, h, w) features or (B, P, h, w) similarities. If the network
            also reads resized copies of the images, there is one tensor for the images and for each copy, and of
            similarities another one for the maximum of their pyramid maps.
        """
        network = self.network
        if self.level == "images":
            return [images]
        features = network.features(images)
        if self.level == "features":
            return features
        similarities = (network.head(maps).similarities for maps in network.pyramid_maps(features))
        return [maps for maps in similarities if maps is not None]

    @torch.no_grad()
    def similarities(self, frozen: Sequence[Tensor]) -> Tensor:
        """Compute the (B, P, h, w) similarities of the network in eval mode.

        Args:
            frozen: Output of the frozen part.
        """
        training = self.network.encoder.training
        self.network.encoder.eval()
        similarities = self.outputs(frozen)[-1].similarities
        self.network.encoder.train(training)
        assert similarities is not None
        return similarities

    @torch.no_grad()
    def teacher_logits(self, images: Tensor, frozen: Sequence[Tensor]) -> list[Tensor]:
        """Compute the teacher's (B, C, h, w) logits.

        Args:
            images: (B, channels, H, W) in 0-1.
            frozen: Output of the frozen part, which is used if the teacher has the same encoder.

        Returns:
            The logits as the only element of a list; an empty list without a teacher.
        """
        teacher = self.teacher
        if teacher is None:
            return []
        features = frozen if self.shares_features else teacher.features(images)
        return [teacher.head(teacher.pyramid_maps(features)[-1]).logits]

    def outputs(self, frozen: Sequence[Tensor], vectors: Tensor | None = None) -> list[Output]:
        """Run the trained part, for the images, each resized copy, and the maximum of their pyramid maps.

        Args:
            frozen: Output of the frozen part.
            vectors: (P, D) prototypes to use instead of the network's own, or None.
        """
        network = self.network
        if self.level == "similarities":
            return [network.prototype_head.decide(maps) for maps in frozen]
        features = network.features(frozen[0]) if self.level == "images" else frozen
        given = {} if vectors is None else {"prototypes.vectors": vectors}
        return [functional_call(network.head, given, (maps,)) for maps in network.pyramid_maps(features)]


def _same_encoder(network: Network, teacher: Network) -> bool:
    """Return True if both networks compute the same features."""
    if (network.config.encoder, network.config.input) != (teacher.config.encoder, teacher.config.input):
        return False
    ours, theirs = network.encoder.state_dict(), teacher.encoder.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)
