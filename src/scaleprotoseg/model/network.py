"""The network: encoder, pyramid and head. DeepLabv2, ProtoSeg and ScaleProtoSeg differ only in these three."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pkgutil import resolve_name

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.errors import UserError
from scaleprotoseg.model.config import HeadConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.encoders.encoder import Encoder
from scaleprotoseg.model.heads import HEADS
from scaleprotoseg.model.heads.base import Head, PrototypicalHead
from scaleprotoseg.model.output import Output
from scaleprotoseg.model.prototypes import PrototypeLayer
from scaleprotoseg.model.pyramid import Pyramid
from scaleprotoseg.model.source import Source
from scaleprotoseg.model.upsampling import upsample


class Network(nn.Module):
    """``logits = head(pyramid(encoder(images)))``.

    Args:
        config: Encoder, pyramid, head and input.
        labels: The classes, in the order of the logits.
        method: Name of the method in metrics and reports.

    Attributes:
        config: The configuration, with everything that is needed to build the encoder again.
        encoder: Maps images to features.
        pyramid: Maps features to latent maps at several scales.
        head: Maps latent maps to logits; phases of a training may replace it.
        sources: For every prototype its training patch, or None if it was not projected.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: NetworkConfig, labels: LabelTable, method: str = "scaleprotoseg") -> None:
        super().__init__()
        self.labels = labels
        self.method = method
        self.encoder = Encoder(config.encoder, len(config.input.mean))
        self.config = replace(config, encoder=self.encoder.config)
        self.rebuild(config.pyramid, config.head)
        self.register_buffer("mean", torch.tensor(config.input.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(config.input.std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Output:
        """Compute class scores at feature resolution, with all values they are computed from.

        Args:
            images: (B, channels, H, W) floats in 0-1; the network normalizes them itself.

        Returns:
            An :class:`Output` with (B, C, h, w) logits, h = ceil(H / output stride) or one more.

        Raises:
            UserError: If the shape does not fit.
        """
        if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] != len(self.mean):
            given = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise UserError(
                f"network: expected a tensor of shape (B, {len(self.mean)}, H, W), got {given}; stack images into a "
                "batch with channels first, or call predict with an image"
            )
        output: Output = self.head(self.pyramid_map(images))
        return output

    def pyramid_map(self, images: Tensor) -> Tensor:
        """Compute the (B, S * D, h, w) pyramid map of (B, channels, H, W) images in 0-1, the input of the head."""
        return self.pyramid_maps(self.features(images))[-1]

    def features(self, images: Tensor) -> list[Tensor]:
        """Compute the encoder's features of images and of their resized copies.

        Args:
            images: (B, channels, H, W) floats in 0-1.

        Returns:
            (B, D, h, w) features of the images, then those of the copies for each factor in ``config.input.scales``.
        """
        normal = (images - self.mean) / self.std
        resized = (
            F.interpolate(normal, scale_factor=factor, mode="bilinear", align_corners=False)
            for factor in self.config.input.scales
        )
        return [self.encoder(image) for image in (normal, *resized)]

    def pyramid_maps(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Compute the pyramid map of each of the :meth:`features`, and the element-wise maximum of these maps.

        Args:
            features: Features of the images and of their resized copies.

        Returns:
            (B, S * D, h, w) maps, each at its own resolution. The last one is the input of the head: the maximum, or
            the only map if there are no resized copies (ScaleProtoSeg, section 4.1; Chen et al., 2017, section 4.1.2).
        """
        maps: list[Tensor] = [self.pyramid(one) for one in features]
        if len(maps) > 1:
            same = [upsample(one, maps[0].shape[-2:]) for one in maps[1:]]
            maps.append(torch.stack([maps[0], *same]).amax(dim=0))
        return maps

    @property
    def prototypes(self) -> PrototypeLayer | None:
        """The prototype layer, or None for a black box."""
        return None if self.head.prototypical is None else self.head.prototypical.prototypes

    @property
    def prototype_head(self) -> PrototypicalHead:
        """The head, for a network that decides by prototypes.

        Raises:
            UserError: If the network is a black box.
        """
        if self.head.prototypical is None:
            raise UserError(
                f"{self.method} has no prototypes, so there is nothing to explain; use a model trained with protoseg "
                "or scaleprotoseg"
            )
        return self.head.prototypical

    def rebuild(self, pyramid: PyramidConfig, head: HeadConfig) -> None:
        """Build a new pyramid and a new head over the encoder, with initial weights."""
        head_class: type[Head] = resolve_name(HEADS[head.kind].path)
        pyramid = head_class.pyramid_config(pyramid, len(self.labels))
        device = next(self.encoder.parameters()).device
        self.config = replace(self.config, pyramid=pyramid, head=head)
        self.pyramid = Pyramid(self.encoder.channels, pyramid).to(device)
        self.head = head_class.build(head, len(self.labels), self.pyramid.num_scales, self.pyramid.channels).to(device)
        self.sources: list[Source | None] = [None] * len(self.prototypes or ())

    def replace_head(self, head: PrototypicalHead, sources: Sequence[Source | None]) -> None:
        """Replace the head, and the source of each of its prototypes."""
        if len(sources) != len(head.prototypes):
            raise ValueError(f"{len(head.prototypes)} prototypes but {len(sources)} sources")
        self.head = head
        self.sources = list(sources)

    def __repr__(self) -> str:
        prototypes = "" if self.prototypes is None else f", {len(self.prototypes)} prototypes"
        return (
            f"<{type(self).__name__} {self.method}: {self.config.encoder.name}, {len(self.labels)} classes{prototypes}>"
        )
