"""Predictions in the formats of the benchmark servers that keep the labels of their test sets to themselves."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.data.labels import VOID
from scaleprotoseg.data.masks import palette_png
from scaleprotoseg.errors import UserError
from scaleprotoseg.evaluation.segmentation import require_same_classes
from scaleprotoseg.files import replacing_folder, require_empty
from scaleprotoseg.model.inference import class_map, logits_of
from scaleprotoseg.model.network import Network


@dataclass(frozen=True)
class Server:
    """What a benchmark server takes.

    Attributes:
        place: Path of a picture's mask inside the archive, with ``{name}``.
        archive: Kind of archive, as ``shutil.make_archive`` calls it.
    """

    place: str
    archive: str


SERVERS = {
    "voc2012": Server("results/VOC2012/Segmentation/comp6_test_cls/{name}.png", "gztar"),
    "cityscapes": Server("results/{name}_labelIds.png", "zip"),
}
"""By the data set's name. Masks hold the data set's own ids; competition 6 of VOC allows any training data."""


def write_submission(
    network: Network,
    dataset: SegmentationDataset,
    folder: Path,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Path:
    """Predicts a split and packs the masks for the data set's server.

    Args:
        network: In eval mode.
        dataset: A split of one of :data:`SERVERS`, with or without labels.
        folder: Gets ``results/`` and the archive of it.
        progress: Wraps the picture indices to show progress.

    Returns:
        The archive to upload.

    Raises:
        UserError: If the data has no server, its classes are not the network's, or the folder
            is not empty or cannot be written.
    """
    server = SERVERS.get(dataset.name)
    if server is None:
        raise UserError(f"{dataset.name}: has no benchmark server; choose from {', '.join(SERVERS)}")
    require_same_classes(network, dataset)
    require_empty(folder)
    raw = np.zeros(VOID + 1, dtype=np.uint8)
    raw[: len(dataset.labels)] = [ids[0] for ids in dataset.labels.raw_ids]
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[raw[: len(dataset.labels)]] = dataset.labels.colors
    with replacing_folder(folder) as new:
        for index in progress(range(len(dataset))):
            sample = dataset[index]
            classes = class_map(logits_of(network, sample.pixels), *sample.image.size)
            path = new / server.place.format(name=dataset.sample_names[index])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(palette_png(raw[classes], palette))
        archive = Path(shutil.make_archive(str(new / "results"), server.archive, new, "results"))
    return folder / archive.name
