"""Bypass: the part of the class scores that does not come from the prototypes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.distributed import gather, shard
from scaleprotoseg.evaluation.context import Context
from scaleprotoseg.inference.tiles import in_tiles
from scaleprotoseg.model.network import Network
from scaleprotoseg.progress import Progress


def bypass(context: Context) -> float | None:
    """Compute the :func:`explained_variance` of a model."""
    return explained_variance(context.network, context.dataset, context.progress)


@torch.inference_mode()
def explained_variance(network: Network, dataset: SegmentationDataset, progress: Progress = iter) -> float | None:
    """Compute the fraction of the variance of the class scores that the prototypes in use explain.

    The scores are computed a second time, in double precision, from nothing but the similarities to these prototypes,
    the weights of the groups and the weights of the classifier. The unexplained fraction is
    ``Var(scores - recomputed) / Var(scores)``, over all cells and classes of a split. Several processes share the
    images.

    Args:
        network: Network in eval mode.
        dataset: Images, with or without masks.
        progress: Wraps the image indices to show progress.

    Returns:
        1 for a network that decides by its prototypes alone, up to the rounding of its scores; less for any other
        network. None if the scores do not vary.

    Raises:
        UserError: If the network has no prototypes.
    """
    head = network.prototype_head
    used = head.used_prototypes()
    classifier = head.classifier.detach().cpu().double()
    groups = head.unit_weights().cpu().double()[:, used] if head.level == "groups" else None

    def logits_and_similarities(tile: Tensor) -> Tensor:
        output = network(tile)
        return torch.cat([output.logits, output.similarities[:, used.to(tile.device)]], dim=1)

    moments = np.zeros((2, 3))
    for index in progress(shard(len(dataset))):
        maps = in_tiles(network, dataset[index].pixels, logits_and_similarities).flatten(1).double()
        scores, similarities = maps[: len(classifier)], maps[len(classifier) :]
        units = similarities if groups is None else (groups @ similarities).exp()
        recomputed = (classifier[:, used] if groups is None else classifier) @ units
        moments += [_moments(scores), _moments(scores - recomputed)]
    total, unexplained = (_variance(*row) for row in np.sum(gather(moments), axis=0).tolist())
    return 1 - unexplained / total if total > 0 else None


def _moments(values: Tensor) -> list[float]:
    """Return number, sum and sum of squares."""
    return [float(values.numel()), float(values.sum()), float(values.square().sum())]


def _variance(count: float, total: float, squares: float) -> float:
    mean = total / count
    return squares / count - mean**2
