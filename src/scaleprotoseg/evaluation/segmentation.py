"""IoU and pixel accuracy from one confusion matrix over a whole split."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.data.labels import VOID
from scaleprotoseg.errors import UserError
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
    network: Network, dataset: SegmentationDataset, progress: Callable[[Iterable[int]], Iterable[int]] = iter
) -> SegmentationScores:
    """Predicts every picture at its own size and counts.

    Args:
        network: In eval mode.
        dataset: Pictures with masks; its classes must be the network's.
        progress: Wraps the picture indices to show progress.

    Raises:
        UserError: If the classes differ, or a picture has no mask.
    """
    if dataset.labels.names != network.labels.names:
        raise UserError(
            f"{dataset.name}: its classes ({', '.join(dataset.labels.names)}) are not the model's "
            f"({', '.join(network.labels.names)}); evaluate on data with the same classes"
        )
    confusion = MulticlassConfusionMatrix(len(network.labels), ignore_index=VOID, validate_args=False)
    for index in progress(range(len(dataset))):
        sample = dataset[index]
        if sample.mask is None:
            raise UserError(f"{dataset.name}: {sample.name} has no mask; choose a split with masks")
        predicted = class_map(logits_of(network, sample.image), sample.image.width, sample.image.height)
        confusion.update(torch.from_numpy(predicted).long(), torch.from_numpy(sample.mask).long())
    return scores_from_confusion(confusion.compute(), len(dataset))
