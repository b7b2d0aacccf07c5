"""The head of DeepLabv2, for which the pyramid itself computes the class scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from torch import Tensor

from scaleprotoseg.model.config import HeadConfig, PyramidConfig
from scaleprotoseg.model.heads.base import Head
from scaleprotoseg.model.output import Output


class DirectHead(Head):
    """Class scores as the sum of the pyramid branches (Chen et al., 2017, section 3.2)."""

    @classmethod
    def pyramid_config(cls, config: PyramidConfig, num_classes: int) -> PyramidConfig:
        """Return a summed pyramid with one channel per class."""
        return replace(config, channels=num_classes, fuse="sum")

    @classmethod
    def build(cls, config: HeadConfig, num_classes: int, num_scales: int, channels: int) -> Self:
        """Build the head, which has no parameters."""
        return cls()

    def forward(self, pyramid: Tensor) -> Output:
        """Return the (B, C, h, w) pyramid map as the logits of an :class:`Output`."""
        return Output(pyramid.float())
