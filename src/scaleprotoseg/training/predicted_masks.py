"""Images without masks, whose masks a black box predicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scaleprotoseg.data.files import Pair, PairedFiles, list_images
from scaleprotoseg.data.folder import hashed_split
from scaleprotoseg.data.labels import VOID
from scaleprotoseg.data.masks import palette_png
from scaleprotoseg.data.pixels import as_image, read_pixels
from scaleprotoseg.distributed import barrier, shard
from scaleprotoseg.errors import UserError
from scaleprotoseg.files import write_file
from scaleprotoseg.inference.prediction import class_map, logits_of
from scaleprotoseg.model.network import Network
from scaleprotoseg.progress import Progress


def predicted_dataset(
    black_box: Network,
    images: Path,
    folder: Path,
    split: str | None = None,
    progress: Progress = iter,
    limit: int | None = None,
) -> PairedFiles:
    """Predict the masks of a folder of images, and return both as a data set.

    Masks that are in the folder already are not predicted again. Several processes share the images.

    Args:
        black_box: The network that predicts, in eval mode.
        images: Folder of images, with or without sub-folders.
        folder: Folder for the masks, as PNG files with the names of the images.
        split: ``val`` for a fixed fifth of the images, ``train`` for the others; None for all.
        progress: Wraps the image indices to show progress.
        limit: Largest number of images; None for all.

    Raises:
        UserError: If there are no images, or one cannot be read.
    """
    found, faults = list_images(images)
    if faults or not found:
        raise UserError(faults[0] if faults else f"{images}: contains no image; give a folder of images")
    names = (list(found) if split is None else hashed_split(found, split))[:limit]
    if not names:
        raise UserError(f"{images}: has too few images for the split {split}; give more images")
    labels = replace(
        black_box.labels,
        raw_ids=tuple((index,) for index in range(len(black_box.labels))),
        void_ids=frozenset({VOID}),
        void_colors=frozenset(),
    )
    masks = {name: folder / f"{name}.png" for name in names}
    for position in progress(shard(len(names))):
        name = names[position]
        if not masks[name].is_file():
            pixels = read_pixels(found[name])
            classes = class_map(logits_of(black_box, pixels), *as_image(pixels).size)
            write_file(masks[name], palette_png(classes, labels.palette()))
    barrier()
    return PairedFiles(images.name, split or "train", [Pair(name, found[name], masks[name]) for name in names], labels)
