"""IoU and pixel accuracy from one confusion matrix over a whole split."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from scaleprotoseg.data.dataset import SegmentationDataset, require_mask
from scaleprotoseg.data.labels import VOID
from scaleprotoseg.distributed import gather, shard
from scaleprotoseg.errors import UserError
from scaleprotoseg.inference.prediction import class_map, logits_of
from scaleprotoseg.model.config import InputSize
from scaleprotoseg.model.network import Network
from scaleprotoseg.progress import Progress


@dataclass(frozen=True)
class SegmentationScores:
    """Scores over all labeled pixels of a split, in 0-1.

    Attributes:
        iou: (C,) intersection over union; NaN for a class that is neither labeled nor predicted.
        miou: Mean of ``iou`` over the classes that are labeled or predicted.
        pixel_accuracy: Fraction of labeled pixels that are predicted correctly.
        num_images: Number of images.
    """

    iou: Tensor
    miou: float
    pixel_accuracy: float
    num_images: int


def scores_from_confusion(confusion: Tensor, num_images: int) -> SegmentationScores:
    """Compute the scores of a confusion matrix.

    Args:
        confusion: (C, C) pixel counts by labeled class (row) and predicted class (column).
        num_images: Number of images that were counted.

    Example:
        >>> scores = scores_from_confusion(torch.tensor([[3, 1], [0, 4]]), num_images=1)
        >>> scores.iou.tolist(), scores.pixel_accuracy
        ([0.75, 0.8], 0.875)
    """
    counts = confusion.double()
    hits = counts.diag()
    iou = hits / (counts.sum(dim=0) + counts.sum(dim=1) - hits)
    accuracy = float(hits.sum() / counts.sum())
    return SegmentationScores(iou, float(iou.nanmean()), accuracy, num_images)


def score_segmentation(
    network: Network,
    dataset: SegmentationDataset,
    size: InputSize = None,
    progress: Progress = iter,
) -> SegmentationScores:
    """Predict every image of a split and compare the class maps with the masks; several processes share the images.

    Args:
        network: Network in eval mode.
        dataset: Images with masks; its classes must be the network's.
        size: Size to which images are resized for the network; None = the network's input size. The class maps are
            always compared at the size of the masks.
        progress: Wraps the image indices to show progress.

    Raises:
        UserError: If the classes differ, or an image has no mask.

    Example:
        >>> from scaleprotoseg import EncoderConfig, HeadConfig, Network, NetworkConfig, open_dataset
        >>> dataset = open_dataset("scenes", "val")
        >>> config = NetworkConfig(EncoderConfig("unet16"), head=HeadConfig(prototypes=2))
        >>> network = Network(config, dataset.labels).eval()
        >>> scores = score_segmentation(network, dataset)
        >>> scores.num_images, len(scores.iou)
        (120, 8)
    """
    require_same_classes(network, dataset)
    confusion = MulticlassConfusionMatrix(len(network.labels), ignore_index=VOID, validate_args=False)
    for index in progress(shard(len(dataset))):
        sample = dataset[index]
        mask = torch.from_numpy(require_mask(dataset, sample))
        predicted = class_map(logits_of(network, sample.pixels, size), *sample.image.size)
        confusion.update(torch.from_numpy(predicted).long(), mask.long())
    counts = torch.stack(gather(confusion.confmat)).sum(dim=0)
    return scores_from_confusion(counts, len(dataset))


def score_agreement(
    network: Network, black_box: Network, dataset: SegmentationDataset, progress: Progress = iter
) -> SegmentationScores:
    """Compare the class maps of a network with those of its black box; several processes share the images.

    Args:
        network: Network in eval mode.
        black_box: Network in eval mode with the same classes, whose class maps take the place of the masks.
        dataset: Images; masks are not needed.
        progress: Wraps the image indices to show progress.

    Returns:
        The scores over all pixels. The mean IoU and the pixel accuracy are 1 if both networks agree everywhere.
    """
    confusion = MulticlassConfusionMatrix(len(network.labels), validate_args=False)
    for index in progress(shard(len(dataset))):
        sample = dataset[index]
        ours, theirs = (
            torch.from_numpy(class_map(logits_of(one, sample.pixels), *sample.image.size)).long()
            for one in (network, black_box)
        )
        confusion.update(ours, theirs)
    counts = torch.stack(gather(confusion.confmat)).sum(dim=0)
    return scores_from_confusion(counts, len(dataset))


def require_same_classes(network: Network, dataset: SegmentationDataset) -> None:
    """Check that a data set has the network's classes.

    Raises:
        UserError: If names or order differ.
    """
    if dataset.labels.names != network.labels.names:
        raise UserError(
            f"{dataset.name}: its classes ({', '.join(dataset.labels.names)}) are not the model's "
            f"({', '.join(network.labels.names)}); choose data with the same classes"
        )
