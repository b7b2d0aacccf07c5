"""The one network class: encoder, pyramid and head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.errors import UserError
from scaleprotoseg.model.config import NetworkConfig
from scaleprotoseg.model.encoder import Encoder
from scaleprotoseg.model.groups import GroupHead
from scaleprotoseg.model.linear import DirectHead, LinearHead
from scaleprotoseg.model.output import Output
from scaleprotoseg.model.prototypes import PrototypeHead, PrototypeLayer
from scaleprotoseg.model.pyramid import Pyramid
from scaleprotoseg.model.source import Source

if TYPE_CHECKING:
    import numpy as np

    from scaleprotoseg.model.decomposition import Page

Head = DirectHead | LinearHead | PrototypeHead | GroupHead


class Network(nn.Module):
    """DeepLabv2, ProtoSeg or ScaleProtoSeg, by its parts.

    Args:
        config: The parts.
        labels: The classes; their order is the order of the logits.
        method: What to call it in metrics and pages.

    Attributes:
        encoder: Pictures to features.
        pyramid: Features to maps at several scales.
        head: Maps to logits; the curriculum replaces a prototype head by a group head.
        sources: For every prototype the training patch it is, or None while it is not one.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: NetworkConfig, labels: LabelTable, method: str = "scaleprotoseg") -> None:
        super().__init__()
        if config.head.kind == "direct":
            pyramid = replace(config.pyramid, channels=len(labels), fuse="sum")
            config = replace(config, pyramid=pyramid)
        self.labels = labels
        self.method = method
        self.encoder = Encoder(config.encoder, len(config.input.mean))
        self.config = replace(config, encoder=self.encoder.config)
        self.pyramid = Pyramid(self.encoder.channels, config.pyramid)
        self.head: Head = self._build_head()
        self.sources: list[Source | None] = [None] * len(self.prototypes or ())
        self.register_buffer("mean", torch.tensor(config.input.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(config.input.std)[:, None, None], persistent=False)

    def _build_head(self) -> Head:
        head = self.config.head
        if head.kind == "direct":
            return DirectHead()
        scales, channels = self.pyramid.num_scales, self.pyramid.channels
        if head.kind == "linear":
            return LinearHead(scales * channels, len(self.labels))
        prototypes = PrototypeLayer.uniform(len(self.labels), scales, head.prototypes, channels)
        return PrototypeHead(prototypes, len(self.labels))

    @property
    def prototypes(self) -> PrototypeLayer | None:
        """The prototype layer, if the head has one."""
        return self.head.prototypes if isinstance(self.head, (PrototypeHead, GroupHead)) else None

    def forward(self, images: Tensor) -> Output:
        """Class scores at feature resolution, with everything they are made of.

        Args:
            images: (B, 3, H, W) floats in 0-1; the network normalises them itself.

        Returns:
            An :class:`Output`; logits (B, C, h, w), h = ceil(H / output stride) or one more.

        Raises:
            UserError: If the shape does not fit.
        """
        if images.ndim != 4 or images.shape[1] != len(self.mean):
            raise UserError(
                f"network: expected images of shape (B, {len(self.mean)}, H, W), got {tuple(images.shape)}; "
                "stack pictures to a batch with channels first"
            )
        output: Output = self.head(self.pyramid_map(images))
        return output

    def pyramid_map(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) pictures in 0-1 to the (B, S * D, h, w) pyramid map the head reads."""
        return self.readings(images)[-1]

    def readings(self, images: Tensor) -> list[Tensor]:
        """The pyramid maps a training learns from: of the picture, of every further scale, and their largest value.

        Args:
            images: (B, 3, H, W) floats in 0-1.

        Returns:
            Maps (B, S * D, h, w), each at its own resolution; the last is the one that counts. Just that one without
            further scales (paper, section 4.1; Chen et al., 2017, section 4.1.2).
        """
        return self.read(self.features(images))

    def features(self, images: Tensor) -> list[Tensor]:
        """The encoder's (B, channels, h, w) features of pictures in 0-1, and of each further scale they are read at."""
        normal = (images - self.mean) / self.std
        further = (
            F.interpolate(normal, scale_factor=scale, mode="bilinear", align_corners=False)
            for scale in self.config.input.scales
        )
        return [self.encoder(image) for image in (normal, *further)]

    def read(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The pyramid maps of such :meth:`features`, as :meth:`readings` gives them."""
        readings: list[Tensor] = [self.pyramid(maps) for maps in features]
        if len(readings) > 1:
            size = readings[0].shape[-2:]
            same = [F.interpolate(maps, size=size, mode="bilinear", align_corners=False) for maps in readings[1:]]
            readings.append(torch.stack([readings[0], *same]).amax(dim=0))
        return readings

    def replace_head(self, head: PrototypeHead | GroupHead, sources: Sequence[Source | None]) -> None:
        """Puts another head in place, with the source of each of its prototypes."""
        if len(sources) != len(head.prototypes):
            raise ValueError(f"{len(head.prototypes)} prototypes but {len(sources)} sources")
        self.head = head
        self.sources = list(sources)

    def explain(self, image: str | Path | Image.Image | np.ndarray) -> Page:
        """Why every pixel of a picture gets its class.

        Args:
            image: A path, a PIL picture, an (H, W[, 3]) uint8 array, or (H, W, N) bands in 0-1; of any size.

        Returns:
            A :class:`~scaleprotoseg.model.decomposition.Page`; read it with ``page.at(x, y)``.

        Raises:
            UserError: If the picture is unreadable or the network has no prototypes to explain with.
        """
        from scaleprotoseg.model.decomposition import explain

        return explain(self, image)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes the model as a bundle; see :func:`scaleprotoseg.model.bundle.save`."""
        from scaleprotoseg.model.bundle import save

        save(self, Path(folder))

    @classmethod
    def from_pretrained(cls, name: str | Path, **hub_arguments: Any) -> Network:
        """Reads a bundle; see :func:`scaleprotoseg.model.bundle.load`."""
        from scaleprotoseg.model.bundle import load

        return load(name, **hub_arguments)

    def push_to_hub(self, repo_id: str, **hub_arguments: Any) -> str:
        """Uploads the bundle; see :func:`scaleprotoseg.model.bundle.push`."""
        from scaleprotoseg.model.bundle import push

        return push(self, repo_id, **hub_arguments)
