"""The keys of a recipe except the phases, as typed values."""

# No postponed annotations: jsonargparse would look them up in the modules of subclasses.

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.config import NetworkConfig, at_least_one


@dataclass(frozen=True)
class DataConfig:
    """Training data, augmentation and batches.

    Attributes:
        name: Name of a known data set, or path of a folder with images/ and masks/; null to train only on ``images``.
        root: Folder of a known data set.
        split: Split to train on; validation always uses the split ``val``.
        parts: Annotations of object parts, if they are stored separately: a folder of Panoptic Parts, or a keypoints
            file.
        images: Folder of images without masks, to train on as well: the teacher in ``warm_start`` predicts their masks.
            Without ``name``, a fifth of them is the validation split.
        mapping: YAML file with lines ``class of the data: class of the teacher``, for classes whose names differ. Data
            gets the classes of the teacher in ``warm_start``; they are matched by name.
        crop: (height, width) of training crops, after the image was resized to ``network.input.size`` and by the random
            factor of ``scale``.
        scale: Smallest and largest factor of the random resizing before cropping.
        batch_size: Number of images per batch, summed over all devices.
        accumulate: Number of batches per optimizer step.
        workers: Number of processes that read images; 0 reads them in the training process.
    """

    name: str | None = "scenes"
    root: Path | None = None
    split: str = "train"
    parts: Path | None = None
    images: Path | None = None
    mapping: Path | None = None
    crop: tuple[int, int] = (513, 513)
    scale: tuple[float, float] = (0.5, 1.5)
    batch_size: int = 2
    accumulate: int = 5
    workers: int = 0

    def __post_init__(self) -> None:
        if self.name is None and self.images is None:
            raise UserError("data: has neither a name nor images; give one of them")
        at_least_one("data.batch_size", self.batch_size)
        at_least_one("data.accumulate", self.accumulate)
        if self.workers < 0:
            raise UserError(f"data.workers is {self.workers}; give 0 or more")
        if not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise UserError(f"data.scale is {list(self.scale)}; give 0 < smallest <= largest")
        if min(self.crop) < 1:
            raise UserError(f"data.crop is {list(self.crop)}; give a height and a width of at least 1")


@dataclass(frozen=True)
class LossConfig:
    """Pixel-wise segmentation loss.

    Attributes:
        class_balance: Exponent b in 0-1; pixels of a class with frequency f get a weight proportional to f ** -b. 0
            weights all pixels equally, 1 weights all classes equally.
        supervision: ``cells`` computes the loss at feature resolution, as in the paper; ``pixels`` first upsamples the
            logits to the size of the mask.
    """

    class_balance: float = 0.0
    supervision: Literal["cells", "pixels"] = "cells"

    def __post_init__(self) -> None:
        if not 0 <= self.class_balance <= 1:
            raise UserError(f"loss.class_balance is {self.class_balance}; give 0 to 1")


@dataclass(frozen=True)
class StoreConfig:
    """Cache of features for the phases in which the encoder is frozen.

    Attributes:
        views: Number of augmented views per image whose features are computed once and cached on disk; 0 caches nothing
            and computes a new view of an image whenever it is used, as in the paper.
        gib: Largest size of the cache in GiB; it limits the number of views.
    """

    views: int = 0
    gib: float = 8.0

    def __post_init__(self) -> None:
        if self.views < 0 or not self.gib > 0:
            raise UserError(f"store is {self.views} views in {self.gib} GiB; give 0 or more views, and more than 0 GiB")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """All keys of a recipe except the phases.

    Attributes:
        method: Name of the result: ``deeplabv2``, ``protoseg``, ``scaleprotoseg`` or any other name.
        data: Training data and augmentation.
        network: Encoder, pyramid, head and input.
        loss: Segmentation loss.
        store: Feature cache for phases with a frozen encoder.
        warm_start: Initial weights of the encoder: a bundle, such as a black box that was trained before, or a ``.pth``
            file of DeepLab weights (for ``caffe_resnet101``) or of a torchvision segmentation model (for its encoder).
        seed: Seed of all random numbers.
        measure: Phases after which the whole validation split is measured: ``every`` one; or the ``last`` one and that
            which trains the black box, and after the others only 50 images.
        precision: Floating-point precision; ``auto`` is bfloat16 on GPUs and on CPUs with AVX-512 if the gradients of
            the first batch are finite and close to those in float32, else float32.
    """

    method: str
    data: DataConfig
    network: NetworkConfig
    loss: LossConfig = field(default_factory=LossConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    warm_start: str | None = None
    seed: int = 0
    measure: Literal["last", "every"] = "last"
    precision: Literal["auto", "32", "bf16"] = "auto"

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"seed is {self.seed}; give 0 or more")
