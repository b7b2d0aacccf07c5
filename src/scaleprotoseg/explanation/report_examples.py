"""The examples of the report: a few images with their prediction, their errors and the activation maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scaleprotoseg.data.dataset import Sample
from scaleprotoseg.data.labels import VOID
from scaleprotoseg.explanation.data_uris import classes_uri, errors_uri, image_uri
from scaleprotoseg.explanation.decomposition import Decomposition, decompose
from scaleprotoseg.explanation.payload import ExplainedImage
from scaleprotoseg.inference.prediction import class_map, logits_of
from scaleprotoseg.model.network import Network

MAP_BYTES = 16 * 2**20
"""Largest size of the maps of all examples. Further examples are shown without an explanation; one always has one."""

MAPPED_FRACTION = 0.002
"""Activation maps are drawn for classes that cover at least this fraction of the true or the predicted labels."""


@dataclass(frozen=True)
class Example:
    """An image in the report.

    Attributes:
        name: Name of the sample.
        explained: Position among the explained images of the page; None if it is not explained.
        uri: The image, a data URI; None if it is explained, since the page then holds it already.
        size: (width, height) in pixels.
        prediction: Predicted labels in class colors, a data URI.
        truth: True labels in class colors, a data URI; None without labels.
        errors: The pixels at which the two differ, a data URI; None without labels.
        accuracy: Fraction of the labeled pixels that are correct, 0-1; None without labels.
        maps: Train id and units of every class with activation maps, the class with most pixels first.
    """

    name: str
    explained: int | None
    uri: str | None
    size: tuple[int, int]
    prediction: str
    truth: str | None
    errors: str | None
    accuracy: float | None
    maps: tuple[tuple[int, tuple[int, ...]], ...]


def build_examples(network: Network, samples: Sequence[Sample]) -> tuple[list[Example], list[ExplainedImage]]:
    """Predict samples, and explain them as long as their maps are not too large.

    Args:
        network: Network in eval mode, with or without prototypes.
        samples: Images, with or without labels.

    Returns:
        One example per sample, and the explained images; none of these if the network has no prototypes.
    """
    examples: list[Example] = []
    images: list[ExplainedImage] = []
    free = MAP_BYTES
    for sample in samples:
        if network.prototypes is None:
            prediction = class_map(logits_of(network, sample.pixels), *sample.image.size)
            examples.append(_example(network, sample, prediction))
            continue
        decomposition = decompose(network, sample.pixels)
        image = ExplainedImage.of(decomposition, sample.name)
        if images and image.map_bytes > free:
            examples.append(_example(network, sample, decomposition.prediction))
            continue
        free -= image.map_bytes
        maps = tuple(_unit_maps(decomposition, sample.mask))
        examples.append(_example(network, sample, decomposition.prediction, len(images), maps))
        images.append(image)
    return examples, images


def _example(
    network: Network,
    sample: Sample,
    prediction: npt.NDArray[np.uint8],
    explained: int | None = None,
    maps: tuple[tuple[int, tuple[int, ...]], ...] = (),
) -> Example:
    mask, labels = sample.mask, network.labels
    labeled = np.zeros_like(prediction, dtype=bool) if mask is None else mask != VOID
    return Example(
        name=sample.name,
        explained=explained,
        uri=image_uri(sample.image) if explained is None else None,
        size=sample.image.size,
        prediction=classes_uri(prediction, labels),
        truth=None if mask is None else classes_uri(mask, labels),
        errors=None if mask is None else errors_uri(prediction, mask),
        accuracy=float((prediction == mask)[labeled].mean()) if labeled.any() else None,
        maps=maps,
    )


def _unit_maps(
    decomposition: Decomposition, mask: npt.NDArray[np.uint8] | None
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield train id and units of the classes in the prediction or the truth, the class with most pixels first."""
    shown = [decomposition.prediction] if mask is None else [decomposition.prediction, mask]
    fractions = np.max([np.bincount(labels.ravel(), minlength=256) / labels.size for labels in shown], axis=0)
    for index in np.argsort(-fractions[: len(decomposition.labels)], kind="stable").tolist():
        if fractions[index] >= MAPPED_FRACTION:
            yield index, tuple((decomposition.unit_class == index).nonzero().flatten().tolist())
