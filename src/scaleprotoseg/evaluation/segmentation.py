"""IoU and pixel accuracy from one confusion matrix over a whole split."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from scaleprotoseg.data.dataset import SegmentationDataset, require_mask
from scaleprotoseg.data.labels import VOID
from scaleprotoseg.distributed import gather, share
from scaleprotoseg.errors import UserError
from scaleprotoseg.model.config import InputSize
from scaleprotoseg.model.inference import class_map, logits_of
from scaleprotoseg.model.network import Network


@dataclass(frozen=True)
class SegmentationScores:
    """Scores over all labelled pixels of a split, in 0-1.

    Attributes:
        iou: (C,) intersection over union; NaN for a class that is neither labelled nor predicted.
        miou: Mean of ``iou`` over the other classes.
        pixel_accuracy: Share of labelled pixels that are right.
        num_images: Pictures scored.
    """

    iou: Tensor
    miou: float
    pixel_accuracy: float
    num_images: int


def scores_from_confusion(confusion: Tensor, num_images: int) -> SegmentationScores:
    """Scores from a (C, C) matrix of pixel counts, rows labelled, columns predicted."""
    counts = confusion.double()
    hits = counts.diag()
    iou = hits / (counts.sum(dim=0) + counts.sum(dim=1) - hits)
    accuracy = float(hits.sum() / counts.sum())
    return SegmentationScores(iou, float(iou.nanmean()), accuracy, num_images)


def score_segmentation(
    network: Network,
    dataset: SegmentationDataset,
    size: InputSize = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> SegmentationScores:
    """Predicts every pixel of every picture and counts; several processes share the pictures.

    Args:
        network: In eval mode.
        dataset: Pictures with masks; its classes must be the network's.
        size: What pictures are resized to before the network sees them; None = the network's input size. The scores
            are always at the mask's own size.
        progress: Wraps the picture indices to show progress.

    Raises:
        UserError: If the classes differ, or a picture has no mask.
    """
    require_same_classes(network, dataset)
    confusion = MulticlassConfusionMatrix(len(network.labels), ignore_index=VOID, validate_args=False)
    for index in progress(share(len(dataset))):
        sample = dataset[index]
        mask = torch.from_numpy(require_mask(dataset, sample))
        predicted = class_map(logits_of(network, sample.pixels, size), *sample.image.size)
        confusion.update(torch.from_numpy(predicted).long(), mask.long())
    counts = torch.stack(gather(confusion.confmat)).sum(dim=0)
    return scores_from_confusion(counts, len(dataset))


def require_same_classes(network: Network, dataset: SegmentationDataset) -> None:
    """Refuses data with other classes than the network's.

    Raises:
        UserError: If names or order differ.
    """
    if dataset.labels.names != network.labels.names:
        raise UserError(
            f"{dataset.name}: its classes ({', '.join(dataset.labels.names)}) are not the model's "
            f"({', '.join(network.labels.names)}); choose data with the same classes"
        )
