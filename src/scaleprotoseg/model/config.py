"""The configuration of a network, as plain typed values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.heads import HEADS

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

InputSize = int | tuple[int, int] | None
"""Length of an image's shorter side, or its (height, width), in pixels; None for its original size."""

Stage = int | tuple[int, ...] | Literal["classifier"]
"""Index of a feature stage, several indices, or the input of a model's own last classifier."""


@dataclass(frozen=True)
class InputConfig:
    """Preparation of an image for the network.

    Attributes:
        size: Size to which images are resized: one number is the length of the shorter side, two numbers are (height,
            width), None keeps the original size of every image.
        scales: Factors by which the image is additionally resized; the network reads the image and all resized copies,
            and takes the element-wise maximum of their pyramid maps (ScaleProtoSeg, section 4.1).
        mean: Mean of each input channel, subtracted from values in 0-1. With one channel, images are
            converted to grayscale; with more than three, files must have that number of bands.
        std: Standard deviation of each input channel, by which the values are divided.
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
    """The network that computes features of an image.

    Attributes:
        name: A timm model that supports ``features_only`` and ``output_stride``; ``caffe_`` and a timm ResNet, such as
            ``caffe_resnet101``, for the variant of DeepLabv2; or ``unet`` (``unet16`` with a quarter of the channels),
            which keeps the resolution of the image. ``torchvision/`` and a model, or ``transformers/`` and a folder or
            Hub id, for the encoder of another segmentation model; it keeps its own stride, and all of its stages are
            computed whatever ``stage`` is.
        stage: Index of the feature stage that the pyramid reads; -1 is the last. An earlier stage is several times
            cheaper, because at output stride 8 most multiply-adds are in the last stage. Several indices, from early to
            late: the later maps are upsampled to the size of the first, and all are concatenated. ``classifier``, for
            a segmentation model of another library: the features that its own last classifier reads.
        output_stride: Pixels of the image per cell of the feature map.
        blocks: Number of residual blocks in each stage of a ResNet; None for those of the named model.
        pretrained: Start from the pretrained weights of the model's library, which are downloaded once. ``try``: start
            from random weights, with a warning, if they cannot be downloaded; not used together with ``weights``.
        weights: Start from the weights in a file, ``.safetensors`` or ``.pth``; classifiers in it are ignored.
        pad: Pad images that are lower or narrower than this, in pixels, with the mean color at the bottom and right.
        aligned: The outermost cells of the network lie on the outermost pixels of the padded image, as in DeepLab for
            TensorFlow; features are resampled to cells of half the stride, whose centers are evenly spaced over the
            image. None: read from the model of another library, else false.
        architecture: Configuration from which transformers builds the encoder; if empty, it is read from the model.
    """

    name: str = "resnet18"
    stage: Stage = -1
    output_stride: Literal[8, 16, 32] = 8
    blocks: tuple[int, ...] | None = None
    pretrained: bool | Literal["try"] = False
    weights: str | None = None
    pad: int = 0
    aligned: bool | None = None
    architecture: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise UserError(f"network.encoder.pad is {self.pad}; give 0 or more pixels")
        if self.stage == ():
            raise UserError("network.encoder.stage is empty; give at least one stage")
        if self.pretrained is True and self.weights:
            raise UserError(f"network.encoder: has weights ({self.weights}) and pretrained; leave one of them out")


@dataclass(frozen=True)
class PyramidConfig:
    """Parallel dilated 3x3 convolutions over the feature map (ScaleProtoSeg, section 3.1).

    Attributes:
        dilations: Dilation of each branch. A branch reads cells up to ``dilation`` cells away, that is, dilation times
            output stride pixels. With 0, the branch is a 1x1 convolution.
        channels: Channels of each branch; a ``direct`` head uses one channel per class instead.
        fuse: ``keep`` makes each branch a scale, ``sum`` adds all branches up into a single scale.
        shown: For each scale, number of cells by which the region that explanations show extends from its cell in each
            direction; set by a ``frame`` phase. None: the dilation.
    """

    dilations: tuple[int, ...] = (6, 12, 18, 24)
    channels: int = 64
    fuse: Literal["keep", "sum"] = "keep"
    shown: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not self.dilations:
            raise UserError("network.pyramid.dilations is empty; give one number for each branch")
        if min(self.dilations) < 0:
            raise UserError(f"network.pyramid.dilations is {list(self.dilations)}; give numbers of at least 0")
        at_least_one("network.pyramid.channels", self.channels)
        scales = len(self.dilations) if self.fuse == "keep" else 1
        if self.shown is not None and len(self.shown) != scales:
            raise UserError(f"network.pyramid.shown has {len(self.shown)} values; give one for each of {scales} scales")


@dataclass(frozen=True)
class HeadConfig:
    """The head, which computes class scores from the pyramid map.

    Attributes:
        kind: ``direct`` for the sum of the pyramid branches (DeepLabv2), ``linear`` for a 1x1 convolution on the
            pyramid, or ``prototypes`` for a linear combination of similarities to prototypes (ProtoSeg, and the first
            stage of ScaleProtoSeg). Groups are added later by a ``group`` phase.
        prototypes: Number of prototypes per class and scale.
    """

    kind: str = "prototypes"
    prototypes: int = 3

    def __post_init__(self) -> None:
        if self.kind not in HEADS:
            raise UserError(f"network.head.kind is {self.kind!r}; choose one of {', '.join(HEADS)}")
        at_least_one("network.head.prototypes", self.prototypes)


@dataclass(frozen=True)
class NetworkConfig:
    """Encoder, pyramid, head and input; DeepLabv2, ProtoSeg and ScaleProtoSeg differ only in these values.

    Attributes:
        encoder: The network that computes features of an image.
        pyramid: Parallel dilated 3x3 convolutions over the features (ScaleProtoSeg, section 3.1).
        head: The head, which computes class scores from the pyramid map.
        input: Preparation of an image for the network.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    pyramid: PyramidConfig = field(default_factory=PyramidConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    input: InputConfig = field(default_factory=InputConfig)


def at_least_one(key: str, value: int) -> None:
    """Check that a count or size is at least 1.

    Args:
        key: Key of the recipe, for the message.
        value: Value of the key.

    Raises:
        UserError: If the value is below 1.
    """
    if value < 1:
        raise UserError(f"{key} is {value}; give at least 1")
