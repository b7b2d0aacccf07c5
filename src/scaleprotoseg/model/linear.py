"""Heads without prototypes: the black boxes everything is measured against."""

from __future__ import annotations

from torch import Tensor, nn

from scaleprotoseg.model.output import Output


class DirectHead(nn.Module):
    """The pyramid's summed branches are the class scores already (DeepLabv2)."""

    def forward(self, pyramid: Tensor) -> Output:
        """(B, C, h, w) pyramid map to an :class:`Output` with these logits."""
        return Output(pyramid.float())


class LinearHead(nn.Module):
    """A 1x1 convolution from the pyramid maps to class scores.

    Args:
        in_channels: Channels of the pyramid map over all scales.
        num_classes: Number of classes.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(in_channels, num_classes, 1)

    def forward(self, pyramid: Tensor) -> Output:
        """(B, in_channels, h, w) pyramid map to an :class:`Output` with logits."""
        return Output(self.classifier(pyramid).float())
