"""Predictions in the formats of the benchmark servers, which do not publish the labels of their test sets."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.data.labels import VOID
from scaleprotoseg.data.masks import palette_png
from scaleprotoseg.errors import UserError
from scaleprotoseg.evaluation.segmentation import require_same_classes
from scaleprotoseg.files import replacing_folder, require_empty
from scaleprotoseg.inference.prediction import class_map, logits_of
from scaleprotoseg.model.network import Network
from scaleprotoseg.progress import Progress


@dataclass(frozen=True)
class Server:
    """Format that a benchmark server accepts.

    Attributes:
        mask_path: Path of an image's mask inside the archive, with ``{name}`` for the name of the image.
        archive_format: Format of the archive, as ``shutil.make_archive`` names it.
    """

    mask_path: str
    archive_format: str


SERVERS = {
    "voc2012": Server("results/VOC2012/Segmentation/comp6_test_cls/{name}.png", "gztar"),
    "cityscapes": Server("results/{name}_labelIds.png", "zip"),
}
"""Servers by the name of the data set; competition 6 of VOC allows any training data."""


def write_submission(
    network: Network,
    dataset: SegmentationDataset,
    folder: Path,
    progress: Progress = iter,
) -> Path:
    """Predict a split and pack the masks, which hold the data set's raw ids, for its server.

    Args:
        network: Network in eval mode.
        dataset: A split of one of :data:`SERVERS`, with or without labels.
        folder: Output folder; gets ``results/`` and its archive.
        progress: Wraps the image indices to show progress.

    Returns:
        The archive to upload.

    Raises:
        UserError: If the data set has no server, its classes are not the network's, or the folder is not empty or
            cannot be written.
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
            path = new / server.mask_path.format(name=dataset.sample_names[index])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(palette_png(raw[classes], palette))
        archive = Path(shutil.make_archive(str(new / "results"), server.archive_format, new, "results"))
    return folder / archive.name
