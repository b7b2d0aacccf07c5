"""A head with a hidden layer."""

from __future__ import annotations

from torch import Tensor, nn

from scaleprotoseg.model.heads.base import Head
from scaleprotoseg.model.output import Output


class HiddenLayerHead(Head):
    """Class scores from a hidden layer over the pyramid map."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(in_channels, 8, 1), nn.ReLU(), nn.Conv2d(8, num_classes, 1))

    def forward(self, pyramid: Tensor) -> Output:
        return Output(self.layers(pyramid).float())

    def components(self) -> dict[str, list[nn.Parameter]]:
        return {"classifier": list(self.parameters())}
