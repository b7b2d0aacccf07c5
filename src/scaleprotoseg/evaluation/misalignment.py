"""Misalignment: evidence for a prototype that lies outside of the region that explanations show for it.

A cell reads more of the image than the box that explanations draw around it (Sacha et al., AAAI 2024). The evidence is
measured by masking, once everything outside of the box and once the box itself.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.evaluation.context import Context
from scaleprotoseg.evaluation.receptive_field import Extent, receptive_fields
from scaleprotoseg.inference.evidence import choose_images, measure_evidence
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.source import reach_of
from scaleprotoseg.progress import Progress


@dataclass(frozen=True)
class Evidence:
    """Means over measurements, in 0-1; None if nothing could be measured.

    Attributes:
        inside: Fraction of a similarity that remains if everything outside of the region shown is masked; 1 if there is
            no evidence outside.
        outside: Fraction that remains if the region shown is masked.
        area: Fraction of the image that the region covers.
        measurements: Number of pairs of a prototype and an image.
    """

    inside: float | None
    outside: float | None
    area: float | None
    measurements: int


@dataclass(frozen=True)
class Misalignment:
    """Location of the evidence for prototypes.

    Attributes:
        overall: Evidence for the prototypes of all scales.
        scales: Evidence for the prototypes of each scale.
        receptive_fields: (height, width) of the receptive field of each scale, in pixels of the image as the network
            sees it; see :func:`~scaleprotoseg.evaluation.receptive_field.receptive_fields`.
    """

    overall: Evidence
    scales: tuple[Evidence, ...]
    receptive_fields: tuple[tuple[Extent, Extent], ...]


def misalignment(context: Context) -> dict[str, Any]:
    """Compute the :func:`score_misalignment` of a model."""
    return asdict(score_misalignment(context.network, context.dataset, progress=context.progress))


def score_misalignment(
    network: Network,
    dataset: SegmentationDataset,
    images: int = 8,
    seed: int = 0,
    progress: Progress = iter,
) -> Misalignment:
    """Mask the region that is shown for each prototype in use, or everything else, and compute the similarity again.

    The region is the one that explanations show for the most similar cell of the prototype's class, in each of some
    images of the class. Several processes share the images; for details see
    :func:`~scaleprotoseg.inference.evidence.measure_evidence`.

    Args:
        network: Network in eval mode.
        dataset: Images with masks.
        images: Number of images per class; fewer if fewer images show the class.
        seed: Seed of the choice of images.
        progress: Wraps the image indices to show progress.

    Raises:
        UserError: If the network has no prototypes, or an image has no mask.
    """
    layer = network.prototype_head.prototypes
    classes = layer.prototype_class.cpu()[network.prototype_head.used_prototypes()].tolist()
    chosen = choose_images(dataset, sorted(set(classes)), images, seed)
    reaches = [reach_of(network.config, scale) for scale in range(layer.num_scales)]
    measured = measure_evidence(network, dataset, chosen, reaches, progress=progress)
    return Misalignment(
        _mean_evidence(measured),
        tuple(_mean_evidence(measured[measured[:, 0] == scale]) for scale in range(layer.num_scales)),
        tuple(receptive_fields(network)),
    )


def _mean_evidence(measured: npt.NDArray[np.float64]) -> Evidence:
    """Average the (n, 4) rows of :func:`~scaleprotoseg.inference.evidence.measure_evidence`."""
    if not len(measured):
        return Evidence(None, None, None, 0)
    _, inside, outside, area = measured.mean(axis=0).tolist()
    return Evidence(inside, outside, area, len(measured))
