"""What a network is made of, as plain typed values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from scaleprotoseg.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

InputSize = int | tuple[int, int] | None
"""Length of a picture's shorter side, its (height, width), or None for the size it has."""


@dataclass(frozen=True)
class InputConfig:
    """How a picture becomes the network's input.

    Attributes:
        size: Pictures are resized to this before the network sees them: one number is the length of the shorter
            side, two numbers are (height, width), None keeps every picture at its own size.
        scales: Factors at which the picture is read once more; the pyramid map is the largest value of all readings
            (paper, section 4.1).
        mean: Channel means taken off, in 0-1; as many as the network has input channels. One channel reads the
            brightness of pictures, more than three read files with as many bands.
        std: Channel deviations divided by, in 0-1.
    """

    size: InputSize = None
    scales: tuple[float, ...] = ()
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        sides = self.size if isinstance(self.size, tuple) else () if self.size is None else (self.size,)
        for side in sides:
            at_least_one("network.input.size", side)
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise UserError(
                f"network.input has {len(self.mean)} means and {len(self.std)} deviations; give one of each for every "
                "channel, deviations above 0"
            )
        if any(scale <= 0 for scale in self.scales):
            raise UserError(f"network.input.scales is {list(self.scales)}; give factors above 0, such as [0.5, 0.75]")


@dataclass(frozen=True)
class EncoderConfig:
    """The dilated CNN that reads the picture.

    Attributes:
        name: Any timm model that offers ``features_only`` and ``output_stride``; ``caffe_`` before a timm ResNet's
            name, as in ``caffe_resnet101``, builds it as DeepLabv2 did; ``unet`` (``unet16`` with a quarter of the
            channels) keeps the picture's resolution. Encoders of other segmentation models, with a stride of their
            own: ``torchvision/`` and the model, ``transformers/`` and its folder or Hub id. All of a model is run,
            whatever its ``stage``.
        stage: Which of its feature stages feeds the pyramid; -1 is the last. An earlier stage is several times
            cheaper, because at output stride 8 the last stage holds most of the multiply-adds.
        output_stride: Pixels of the picture per cell of the feature map.
        blocks: Residual blocks in each stage of a ResNet; None as its name says.
        pretrained: Start from the pretrained weights of its library (needs the network once).
        architecture: What transformers builds an encoder from; read from the model itself if empty.
    """

    name: str = "resnet18"
    stage: int = -1
    output_stride: Literal[8, 16, 32] = 8
    blocks: tuple[int, ...] | None = None
    pretrained: bool = False
    architecture: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PyramidConfig:
    """Parallel dilated 3x3 convolutions over the feature map (paper, section 3.1).

    Attributes:
        dilations: One branch each; the reach of a branch is its dilation times the output stride, in pixels.
        channels: Width of each branch. A ``direct`` head has as many as classes instead.
        fuse: ``keep`` sets the branches side by side (one scale each), ``sum`` adds them into one scale.
        shown: By scale, cells to each side of its own that explanations show for a cell; None shows what the branch
            itself reads, its dilation. A ``frame`` phase finds them.
    """

    dilations: tuple[int, ...] = (6, 12, 18, 24)
    channels: int = 64
    fuse: Literal["keep", "sum"] = "keep"
    shown: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not self.dilations:
            raise UserError("network.pyramid.dilations is empty; give one number for each branch")
        for dilation in self.dilations:
            at_least_one("network.pyramid.dilations", dilation)
        at_least_one("network.pyramid.channels", self.channels)
        scales = len(self.dilations) if self.fuse == "keep" else 1
        if self.shown is not None and len(self.shown) != scales:
            raise UserError(f"network.pyramid.shown has {len(self.shown)} values; give one for each of {scales} scales")


@dataclass(frozen=True)
class HeadConfig:
    """What turns pyramid maps into class scores.

    Attributes:
        kind: ``direct``: the summed pyramid branches are the scores (DeepLabv2); ``linear``: a 1x1 convolution
            on the pyramid; ``prototypes``: similarities to prototypes, linearly combined (ProtoSeg, and the first
            stage of ScaleProtoSeg). Groups come later, in the curriculum.
        prototypes: Prototypes per class and scale.
    """

    kind: Literal["direct", "linear", "prototypes"] = "prototypes"
    prototypes: int = 3

    def __post_init__(self) -> None:
        at_least_one("network.head.prototypes", self.prototypes)


@dataclass(frozen=True)
class NetworkConfig:
    """Encoder, pyramid and head: DeepLabv2, ProtoSeg and ScaleProtoSeg differ in these values alone."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    pyramid: PyramidConfig = field(default_factory=PyramidConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    input: InputConfig = field(default_factory=InputConfig)


def at_least_one(key: str, value: int) -> None:
    """Refuses counts and sizes below 1.

    Raises:
        UserError: If the value is smaller.
    """
    if value < 1:
        raise UserError(f"{key} is {value}; give at least 1")
