"""The linear head: a black box with the same pyramid as the prototype head."""

from __future__ import annotations

from torch import Tensor, nn

from scaleprotoseg.model.heads.base import Head
from scaleprotoseg.model.output import Output


class LinearHead(Head):
    """Class scores as a 1x1 convolution of the pyramid map.

    Args:
        in_channels: Channels of the pyramid map over all scales.
        num_classes: Number of classes C.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(in_channels, num_classes, 1)

    def forward(self, pyramid: Tensor) -> Output:
        """Map a (B, in_channels, h, w) pyramid map to an :class:`Output` with only logits."""
        return Output(self.classifier(pyramid).float())

    def components(self) -> dict[str, list[nn.Parameter]]:
        """Return the classifier."""
        return {"classifier": list(self.parameters())}
