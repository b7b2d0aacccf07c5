"""Input of a phase when it runs, and the measurements from which its duration is estimated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scaleprotoseg.training.config import TrainingConfig
from scaleprotoseg.training.durations import Durations

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback
    from torch import Tensor

    from scaleprotoseg.data.dataset import SegmentationDataset
    from scaleprotoseg.model.network import Network
    from scaleprotoseg.training.run_folder import RunFolder


@dataclass
class PhaseRun:
    """The data, network and folder that a phase works with.

    Attributes:
        name: Name of the phase.
        index: Index of the phase in the recipe.
        config: The recipe without its phases.
        num_phases: Number of phases in the recipe.
        network: The network, changed in place by the phase.
        dataset: Training images, without augmentation.
        folder: Folder of the run.
        class_weights: (C,) weight of the pixels of each class in the segmentation loss; None weights all equally.
        teacher: Bundle of the teacher, or None.
        callbacks: Lightning callbacks for fits.
        durations: Seconds by activity.
    """

    name: str
    index: int
    config: TrainingConfig
    num_phases: int
    network: Network
    dataset: SegmentationDataset
    folder: RunFolder
    class_weights: Tensor | None = None
    teacher: str | None = None
    callbacks: Sequence[Callback] = field(default_factory=tuple)
    durations: Durations = field(default_factory=Durations)


@dataclass(frozen=True)
class Observation:
    """Measurements of a shortened phase, and the size of the whole training.

    Attributes:
        seconds: Duration of the shortened phase.
        batch_seconds: For a fit, seconds per batch.
        flop: For a fit, number of floating-point operations per batch.
        preparation_seconds: For a fit, seconds before the first batch.
        cached_bytes: For a fit with a feature cache, size of the cache in bytes.
        image_seconds: Seconds to run the network on one whole image.
        images: Number of training images.
        images_seen: Number of images in the shortened phase.
        classes: Number of classes.
        class_views: Number of pairs of a class and an image that a ``frame`` phase examined.
    """

    seconds: float = 0.0
    batch_seconds: float = 0.0
    flop: int = 0
    preparation_seconds: float = 0.0
    cached_bytes: int = 0
    image_seconds: float = 0.0
    images: int = 1
    images_seen: int = 1
    classes: int = 1
    class_views: int = 1
