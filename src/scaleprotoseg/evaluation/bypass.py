"""Bypass: whether anything reaches the class scores past the prototypes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.distributed import gather, share
from scaleprotoseg.model.groups import GroupHead
from scaleprotoseg.model.inference import in_tiles, require_prototypes, used_prototypes
from scaleprotoseg.model.network import Network


@torch.inference_mode()
def explained_variance(
    network: Network, dataset: SegmentationDataset, progress: Callable[[Iterable[int]], Iterable[int]] = iter
) -> float | None:
    """Share of the variance of the class scores that the prototypes in use explain.

    The scores are put together once more, in double precision, from nothing but the similarities to these prototypes,
    the weights of the groups and those of the classifier. What is missing is ``Var(scores - these) / Var(scores)``,
    over all cells and classes of a split. Several processes share the pictures.

    Args:
        network: In eval mode.
        dataset: Pictures, with or without masks.
        progress: Wraps the picture indices to show progress.

    Returns:
        1 for a network that decides by its prototypes alone, up to the rounding of its scores; less for any other.
        None if the scores do not vary.

    Raises:
        UserError: If the network has no prototypes.
    """
    head = require_prototypes(network)
    used = used_prototypes(network)
    classifier = head.classifier.detach().cpu().double()
    groups = head.dense_weights().cpu().double()[:, used] if isinstance(head, GroupHead) else None

    def read(tile: Tensor) -> Tensor:
        output = network(tile)
        return torch.cat([output.logits, output.similarities[:, used.to(tile.device)]], dim=1)

    moments = np.zeros((2, 3))
    for index in progress(share(len(dataset))):
        maps = in_tiles(network, dataset[index].pixels, read).flatten(1).double()
        scores, similarities = maps[: len(classifier)], maps[len(classifier) :]
        units = similarities if groups is None else (groups @ similarities).exp()
        again = (classifier[:, used] if groups is None else classifier) @ units
        moments += [_moments(scores), _moments(scores - again)]
    total, missing = (_variance(*row) for row in np.sum(gather(moments), axis=0).tolist())
    return 1 - missing / total if total > 0 else None


def _moments(values: Tensor) -> list[float]:
    """Number, sum and sum of squares."""
    return [float(values.numel()), float(values.sum()), float(values.square().sum())]


def _variance(count: float, total: float, squares: float) -> float:
    mean = total / count
    return squares / count - mean**2
