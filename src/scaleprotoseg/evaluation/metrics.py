"""All metrics of a model on a split, as ``metrics.json`` stores them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from typing import Any, Literal

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.data.registry import READERS
from scaleprotoseg.evaluation.context import Context
from scaleprotoseg.evaluation.faithfulness import faithfulness
from scaleprotoseg.evaluation.interpretability import interpretability
from scaleprotoseg.evaluation.segmentation import SegmentationScores, score_agreement, score_segmentation
from scaleprotoseg.evaluation.sparsity import Sparsity, sparsity
from scaleprotoseg.inference.part_options import PAPER, PartOptions
from scaleprotoseg.model.config import InputSize
from scaleprotoseg.model.network import Network
from scaleprotoseg.progress import Progress

Scores = Literal["segmentation", "explanations", "all"]
"""Extent of an evaluation: the segmentation alone; also consistency, stability and overlap; also faithfulness."""

VERSIONED = ("scaleprotoseg", "torch", "torchvision", "timm", "lightning")
"""Libraries whose versions are part of the metrics."""


@dataclass(frozen=True)
class ProtocolScores:
    """Segmentation scores at one input size.

    Attributes:
        input_size: Size to which images are resized, as in ``network.input.size``; None for the image's own size.
        miou: Mean IoU in 0-1; None if no class could be scored.
        pixel_accuracy: Fraction of labeled pixels that are predicted correctly; None if no pixel is labeled.
    """

    input_size: InputSize
    miou: float | None
    pixel_accuracy: float | None


@dataclass(frozen=True)
class Protocols:
    """Segmentation scores at the input sizes of both protocols.

    Attributes:
        native: At the size at which ``predict`` runs the network.
        paper: At the paper's input size (section 4.1); None if it was not measured, the paper reports no results on
            this data, or the network has an input size of its own.
    """

    native: ProtocolScores
    paper: ProtocolScores | None


@dataclass(frozen=True)
class BlackBoxScores:
    """Scores of the black box that a model started from, on the same split.

    Attributes:
        phase: The phase that trained it.
        miou: Mean IoU in 0-1, or None.
        pixel_accuracy: Fraction of labeled pixels that are predicted correctly, or None.
        iou: IoU per class, or None.
    """

    phase: str
    miou: float | None
    pixel_accuracy: float | None
    iou: dict[str, float | None]


@dataclass(frozen=True)
class Agreement:
    """Agreement of the class maps of a model with those of its black box, in 0-1.

    Attributes:
        black_box: Name of the black box.
        miou: Mean IoU over the classes that one of them predicts.
        pixel_accuracy: Fraction of all pixels to which both assign the same class.
    """

    black_box: str
    miou: float | None
    pixel_accuracy: float | None


@dataclass(frozen=True)
class Metrics:
    """Metrics of a model on a split. Fractions and IoU are in 0-1; what was not measured is None.

    Attributes:
        method: Name of the method.
        data: Name of the data set.
        split: Name of the split.
        num_images: Number of images.
        miou: Mean IoU over the classes that occur, in the labels or in the prediction.
        pixel_accuracy: Fraction of labeled pixels that are predicted correctly.
        iou: IoU per class; None for a class that occurs neither in the labels nor in the prediction.
        protocols: Segmentation scores per protocol; the native ones equal ``miou`` and ``pixel_accuracy``.
        sparsity: Number of prototypes and members in use.
        consistency: Fraction of consistent prototypes.
        stability: Fraction of pairs of a prototype and an image that noise does not change.
        parts: Consistency and stability of prototypes and groups, with the options of the measurement.
        overlap: Mean IoU between the activations of two units, by kind of pair and quantile.
        faithfulness: Scores of :data:`~scaleprotoseg.evaluation.faithfulness.SCORES`.
        black_box: Scores of the black box that the same run trained first.
        agreement: Agreement with the black box that the training started from.
        seed: Seed of the training.
        versions: Versions of the libraries.
    """

    method: str
    data: str
    split: str
    num_images: int
    miou: float | None
    pixel_accuracy: float | None
    iou: dict[str, float | None]
    protocols: Protocols
    sparsity: Sparsity
    consistency: float | None = None
    stability: float | None = None
    parts: dict[str, Any] | None = None
    overlap: dict[str, Any] | None = None
    faithfulness: dict[str, Any] | None = None
    black_box: BlackBoxScores | None = None
    agreement: Agreement | None = None
    seed: int | None = None
    versions: dict[str, str] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``metrics.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Metrics:
        """Read the content of ``metrics.json``.

        Raises:
            KeyError: If a value is missing.
            TypeError: If a value has another structure.
        """
        known = {key.name: values[key.name] for key in fields(cls) if key.name in values}
        native, paper = (values["protocols"][name] for name in ("native", "paper"))
        box, agreement = known.get("black_box"), known.get("agreement")
        return cls(
            **known
            | {
                "protocols": Protocols(ProtocolScores(**native), paper and ProtocolScores(**paper)),
                "sparsity": Sparsity(**values["sparsity"]),
                "black_box": box and BlackBoxScores(**box),
                "agreement": agreement and Agreement(**agreement),
            }
        )

    def without_labels(self) -> Metrics:
        """Return the metrics on images whose masks a black box predicted, without the scores of these masks."""
        native = replace(self.protocols.native, miou=None, pixel_accuracy=None)
        return replace(
            self, miou=None, pixel_accuracy=None, iou=dict.fromkeys(self.iou), protocols=Protocols(native, None)
        )

    def as_black_box(self, phase: str) -> BlackBoxScores:
        """Return the scores of a black box, for the metrics of the model that explains it."""
        return BlackBoxScores(phase, self.miou, self.pixel_accuracy, self.iou)


def measure_agreement(
    network: Network, black_box: Network, dataset: SegmentationDataset, progress: Progress = iter
) -> Agreement:
    """Compare the class maps of a model with those of its black box.

    Args:
        network: In eval mode.
        black_box: In eval mode, with the same classes.
        dataset: Images; masks are not needed.
        progress: Wraps the image indices to show progress.
    """
    scores = score_agreement(network, black_box, dataset, progress)
    return Agreement(black_box.method, _known(scores.miou), _known(scores.pixel_accuracy))


def fraction_kept(metrics: Mapping[str, Any]) -> float | None:
    """Return the mean IoU of a model divided by that of its black box.

    Args:
        metrics: Content of ``metrics.json``, which may be incomplete.

    Returns:
        The fraction; None if one of the two is missing, or that of the black box is 0.

    >>> fraction_kept({"miou": 0.4, "black_box": {"miou": 0.8}})
    0.5
    """
    ours, theirs = metrics.get("miou"), (metrics.get("black_box") or {}).get("miou")
    return ours / theirs if theirs and ours is not None else None


def measure(
    network: Network,
    dataset: SegmentationDataset,
    seed: int | None = None,
    scores: Scores = "explanations",
    options: PartOptions = PAPER,
    progress: Progress = iter,
) -> Metrics:
    """Measure a model on a split.

    Args:
        network: In eval mode.
        dataset: A labeled split.
        seed: Seed of the training, if known.
        scores: Extent of the evaluation. Except for ``segmentation``, the scores at the paper's input size are
            measured, too.
        options: Variant of consistency and stability.
        progress: Wraps the image indices to show progress.

    Raises:
        UserError: If the classes of model and data differ, or an image has no mask.

    Example:
        >>> from scaleprotoseg import EncoderConfig, HeadConfig, Network, NetworkConfig, open_dataset
        >>> dataset = open_dataset("scenes", "val")
        >>> config = NetworkConfig(EncoderConfig("unet16"), head=HeadConfig(prototypes=2))
        >>> network = Network(config, dataset.labels).eval()
        >>> metrics = measure(network, dataset, scores="segmentation")
        >>> metrics.data, metrics.split, metrics.num_images, metrics.sparsity.prototypes_total
        ('scenes', 'val', 120, 64)
    """
    context = Context(network, dataset, options, progress)
    segmentation = score_segmentation(network, dataset, progress=progress)
    native = _protocol(network.config.input.size, segmentation)
    explains = scores != "segmentation" and network.prototypes is not None
    return Metrics(
        method=network.method,
        data=dataset.name,
        split=dataset.split,
        num_images=segmentation.num_images,
        miou=native.miou,
        pixel_accuracy=native.pixel_accuracy,
        iou=dict(zip(network.labels.names, map(_known, segmentation.iou.tolist()), strict=True)),
        protocols=Protocols(native, None if scores == "segmentation" else _paper(context, native)),
        sparsity=sparsity(network),
        **(interpretability(context) if explains else {}),
        faithfulness=faithfulness(context) if explains and scores == "all" else None,
        seed=seed,
        versions={name: version(name) for name in VERSIONED},
    )


def _paper(context: Context, native: ProtocolScores) -> ProtocolScores | None:
    """Return the scores at the paper's input size; None if there are no results in the paper to compare with."""
    reader = READERS.get(context.dataset.name)
    if reader is None or not reader.paper or context.network.config.input.size is not None:
        return None
    if reader.paper_size is None:
        return native
    scores = score_segmentation(context.network, context.dataset, reader.paper_size, context.progress)
    return _protocol(reader.paper_size, scores)


def _protocol(size: InputSize, scores: SegmentationScores) -> ProtocolScores:
    return ProtocolScores(size, _known(scores.miou), _known(scores.pixel_accuracy))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
