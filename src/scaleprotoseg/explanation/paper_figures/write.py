"""All figures on a model, as files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from scaleprotoseg.data.dataset import SegmentationDataset, require_mask
from scaleprotoseg.errors import UserError
from scaleprotoseg.evaluation.segmentation import require_same_classes
from scaleprotoseg.explanation.paper_figures.groups import groups_figure
from scaleprotoseg.explanation.paper_figures.overlap import measure_overlap, overlap_figure
from scaleprotoseg.explanation.paper_figures.scales import scales_figure
from scaleprotoseg.explanation.paper_figures.style import file_stems, paper_style, save, scale_names
from scaleprotoseg.model.inference import require_prototypes, used_prototypes
from scaleprotoseg.model.network import Network


def write_figures(
    network: Network,
    dataset: SegmentationDataset,
    folder: Path,
    images: Sequence[str] = (),
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[str]:
    """Writes ``overlap``, ``scales`` and for every class with prototypes ``groups-CLASS``, each as SVG and as PNG.

    Args:
        network: In eval mode.
        dataset: A split with a mask for every picture.
        folder: Where to write; made if missing.
        images: Names of the samples that classes are drawn on, each on the one with most of its pixels; none = all.
        progress: Wraps picture indices to show progress.

    Returns:
        The names of the figures, without ending.

    Raises:
        UserError: If the network has no prototypes, the data has other classes, a picture has no mask or is unknown,
            or the folder cannot be written.
    """
    layer = require_prototypes(network).prototypes
    require_same_classes(network, dataset)
    candidates = _indices(dataset, images)
    classes = np.unique(layer.prototype_class.cpu()[used_prototypes(network)].numpy()).tolist()
    stems = [f"groups-{stem}" for stem in file_stems(network.labels.names)]
    with paper_style():
        save(overlap_figure(measure_overlap(network, dataset, progress)), folder, "overlap")
        save(scales_figure(network), folder, "scales")
        for picture, shown in choose_pictures(dataset, candidates, classes, progress).items():
            sample = dataset[picture]
            page = network.explain(sample.pixels)
            for index in shown:
                save(groups_figure(page, sample, index, scale_names(network)), folder, stems[index])
    return ["overlap", "scales", *(stems[index] for index in classes)]


def choose_pictures(
    dataset: SegmentationDataset,
    candidates: Sequence[int],
    classes: Sequence[int],
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> dict[int, list[int]]:
    """For every class the picture with most pixels labelled as it: the first of several, or of all if none has any.

    Args:
        dataset: Pictures with masks.
        candidates: Indices of the pictures to choose from.
        classes: Train ids of the classes.
        progress: Wraps the picture indices to show progress.

    Returns:
        Classes by the index of their picture.

    Raises:
        UserError: If a picture has no mask.
    """
    samples = (dataset[index] for index in progress(candidates))
    counts = np.stack([np.bincount(require_mask(dataset, sample).ravel(), minlength=256) for sample in samples])
    chosen: dict[int, list[int]] = {}
    for label in classes:
        chosen.setdefault(candidates[int(counts[:, label].argmax())], []).append(label)
    return chosen


def _indices(dataset: SegmentationDataset, images: Sequence[str]) -> list[int]:
    names = dataset.sample_names
    unknown = next((image for image in images if image not in names), None)
    if unknown is not None:
        close = get_close_matches(unknown, names, n=1) or names[:1]
        raise UserError(
            f"{unknown}: no picture of {dataset.name} ({dataset.split}) has this name; names are like {close[0]}"
        )
    return [names.index(image) for image in images] or list(range(len(names)))
