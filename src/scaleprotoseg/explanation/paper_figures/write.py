"""Writing all figures on a model to files."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from scaleprotoseg.data.dataset import SegmentationDataset, require_mask
from scaleprotoseg.errors import UserError
from scaleprotoseg.evaluation.segmentation import require_same_classes
from scaleprotoseg.explanation.decomposition import decompose
from scaleprotoseg.explanation.paper_figures.groups import groups_figure
from scaleprotoseg.explanation.paper_figures.overlap import measure_overlap, overlap_figure
from scaleprotoseg.explanation.paper_figures.scales import scales_figure
from scaleprotoseg.explanation.paper_figures.style import file_stems, paper_style, save, scale_names
from scaleprotoseg.model.network import Network
from scaleprotoseg.progress import Progress


def write_figures(
    network: Network,
    dataset: SegmentationDataset,
    folder: str | Path,
    images: Sequence[str] = (),
    progress: Progress = iter,
) -> list[str]:
    """Write ``overlap``, ``scales`` and, for each class with prototypes, ``groups-CLASS``, each as SVG and as PNG.

    Args:
        network: Network with prototypes, in eval mode.
        dataset: A split with a mask for every image.
        folder: Folder to write to; it is created if missing.
        images: Names of the samples to draw classes on, of which each class gets the one with most of its pixels; empty
            = all samples.
        progress: Wraps image indices to show progress.

    Returns:
        Names of the figures, without file extension.

    Raises:
        UserError: If the network has no prototypes, the data has other classes, an image has no mask or is unknown, or
            the folder cannot be written.
    """
    layer = network.prototype_head.prototypes
    require_same_classes(network, dataset)
    candidates = _indices(dataset, images)
    classes = np.unique(layer.prototype_class.cpu()[network.prototype_head.used_prototypes()].numpy()).tolist()
    stems = [f"groups-{stem}" for stem in file_stems(network.labels.names)]
    with paper_style():
        save(overlap_figure(measure_overlap(network, dataset, progress)), folder, "overlap")
        save(scales_figure(network), folder, "scales")
        for position, shown in choose_images(dataset, candidates, classes, progress).items():
            sample = dataset[position]
            decomposition = decompose(network, sample.pixels)
            for index in shown:
                figure = groups_figure(decomposition, sample, index, scale_names(network))
                save(figure, folder, stems[index])
    return ["overlap", "scales", *(stems[index] for index in classes)]


def choose_images(
    dataset: SegmentationDataset,
    candidates: Sequence[int],
    classes: Sequence[int],
    progress: Progress = iter,
) -> dict[int, list[int]]:
    """Choose for each class the image with most pixels labeled as it; the first one if several have the same number.

    Args:
        dataset: Images with masks.
        candidates: Indices of the images to choose from.
        classes: Train ids of the classes.
        progress: Wraps the image indices to show progress.

    Returns:
        By index of an image, the classes to draw on it.

    Raises:
        UserError: If an image has no mask.
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
        raise UserError(f"{unknown}: is no image of {dataset.name} ({dataset.split}); choose a name such as {close[0]}")
    return [names.index(image) for image in images] or list(range(len(names)))
