"""Misalignment: whether what makes a prototype similar to a cell lies in the region that is shown for it.

A cell reads more of the picture than the box that explanations draw around it (Sacha et al., AAAI 2024). Here this is
measured by masking, in two ways: all but the box, and the box alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.evaluation.receptive_field import Extent, receptive_fields
from scaleprotoseg.model.evidence import choose_pictures, evidence_in
from scaleprotoseg.model.inference import require_prototypes, used_prototypes
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.source import reach_of


@dataclass(frozen=True)
class Evidence:
    """Means over measurements, in 0-1; None where nothing could be measured.

    Attributes:
        inside: Share of a similarity that is left when all but the region shown is masked; 1 if no evidence lies
            elsewhere.
        outside: Share that is left when the region shown is masked.
        area: Share of the picture that the region takes.
        measurements: Pairs of a prototype and a picture.
    """

    inside: float | None
    outside: float | None
    area: float | None
    measurements: int


@dataclass(frozen=True)
class Misalignment:
    """Where the evidence for prototypes lies.

    Attributes:
        overall: Over the prototypes of all scales.
        scales: Over those of each scale.
        receptive_fields: (height, width) of what a cell of each scale reads, in pixels of the picture as the network
            sees it; see :func:`~scaleprotoseg.evaluation.receptive_field.receptive_fields`.
    """

    overall: Evidence
    scales: tuple[Evidence, ...]
    receptive_fields: tuple[tuple[Extent, Extent], ...]


def score_misalignment(
    network: Network,
    dataset: SegmentationDataset,
    pictures: int = 8,
    seed: int = 0,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Misalignment:
    """Masks what is and what is not shown of each prototype in use, and reads its similarity again.

    In each of some pictures of a prototype's class, the cell that is most similar to it is looked at, among those
    labelled with the class. The region is the one explanations show of such a cell. Masked pixels have the mean
    colour, 0 once they are normalised. Several processes share the pictures.

    Args:
        network: In eval mode.
        dataset: Pictures with masks.
        pictures: Of each class, as far as there are so many.
        seed: By which these are chosen.
        progress: Wraps the picture indices to show progress.

    Raises:
        UserError: If the network has no prototypes, or a picture no mask.
    """
    layer = require_prototypes(network).prototypes
    classes = layer.prototype_class.cpu()[used_prototypes(network)].tolist()
    chosen = choose_pictures(dataset, sorted(set(classes)), pictures, seed)
    reaches = [reach_of(network.config, scale) for scale in range(layer.num_scales)]
    measured = evidence_in(network, dataset, chosen, reaches, progress=progress)
    return Misalignment(
        _evidence(measured),
        tuple(_evidence(measured[measured[:, 0] == scale]) for scale in range(layer.num_scales)),
        tuple(receptive_fields(network)),
    )


def _evidence(measured: npt.NDArray[np.float64]) -> Evidence:
    """Means of (n, 4) rows as :func:`~scaleprotoseg.model.evidence.evidence_in` gives them."""
    if not len(measured):
        return Evidence(None, None, None, 0)
    _, inside, outside, area = measured.mean(axis=0).tolist()
    return Evidence(inside, outside, area, len(measured))
