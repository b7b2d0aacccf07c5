"""The commands that use a trained model or examine data, one function each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from scaleprotoseg.data import check
from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.data.files import printable_name
from scaleprotoseg.data.labels import named_table
from scaleprotoseg.data.masks import palette_png
from scaleprotoseg.data.pixels import IMAGE_SUFFIXES, as_image, read_pixels
from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.data.relabeled import with_classes
from scaleprotoseg.distributed import fastest_device, is_main, process_group
from scaleprotoseg.errors import UserError
from scaleprotoseg.evaluation.metrics import Scores, measure
from scaleprotoseg.evaluation.submission import write_submission
from scaleprotoseg.evaluation.tables import render
from scaleprotoseg.explanation.explanation import explain as explain_image
from scaleprotoseg.explanation.overlay import overlay_jpeg
from scaleprotoseg.explanation.paper_figures.write import write_figures
from scaleprotoseg.explanation.report import write_report
from scaleprotoseg.files import require_empty, require_place, write_file
from scaleprotoseg.formats.black_boxes import load_model
from scaleprotoseg.formats.bundle import save
from scaleprotoseg.formats.official import load_official
from scaleprotoseg.inference.part_options import PAPER, PartOptions
from scaleprotoseg.inference.prediction import class_map, logits_of
from scaleprotoseg.model.network import Network
from scaleprotoseg.pipeline.training import examples, write_json
from scaleprotoseg.progress import progress_bar
from scaleprotoseg.training.projection import find_sources

console = Console()

MASK_ENDINGS = (".png", "_overlay.jpg")
"""Endings of the files that ``predict`` writes for an image: class indices and a color overlay."""


@dataclass(frozen=True)
class DataArguments:
    """A split of a data set, as given in the arguments of a command.

    Attributes:
        data: Name of a known data set, or path of a folder with images/ and masks/.
        split: Name of the split.
        root: Folder of a known data set.
        parts: Annotations of object parts, if they are stored separately.
        mapping: File with the model's names of classes that the data names differently.
    """

    data: str
    split: str
    root: Path | None = None
    parts: Path | None = None
    mapping: Path | None = None

    def open(self) -> SegmentationDataset:
        """Open the split.

        Raises:
            UserError: If it is missing or faulty.
        """
        return open_dataset(self.data, self.split, self.root, self.parts)

    def open_for(self, network: Network) -> SegmentationDataset:
        """Open the split with the classes of a model, which are matched by name.

        Raises:
            UserError: If the split is missing or faulty, or no class matches.
        """
        return with_classes(network.labels, self.open(), self.mapping)


def evaluate(
    bundle: str,
    data: DataArguments,
    out: Path | None = None,
    scores: Scores = "explanations",
    options: PartOptions = PAPER,
) -> None:
    """Measure a model on a split, print the metrics, and write them to a file if one is given.

    Args:
        bundle: Folder or Hub id of the model; or ``transformers/``, ``torchvision/`` or ``smp/`` and a segmentation
            model of that library.
        data: A labeled split.
        out: JSON file for the metrics.
        scores: Extent of the measurements.
        options: Variant of consistency and stability.
    """
    if out is not None:
        require_place(out)
    with process_group():
        network = _load(bundle)
        dataset = data.open_for(network)
        metrics = measure(network, dataset, None, scores, options, progress_bar("measuring"))
        if is_main():
            if network.prototypes is None and scores != "segmentation":
                console.print("the model has no prototypes: there are no explanations to measure")
            render(metrics, console)
            if out is not None:
                write_json(out, metrics.to_dict())


def predict(bundle: str, images: Sequence[Path], folder: Path) -> None:
    """Write ``NAME.png`` (class indices, with the class colors as palette) and ``NAME_overlay.jpg`` for each image.

    Args:
        bundle: Folder or Hub id of the model.
        images: Images, or folders of images.
        folder: Folder to write to.

    Raises:
        UserError: If an image cannot be read, two images have the same name, or an image would be overwritten.
    """
    require_place(folder, folder=True)
    network = _load(bundle)
    paths = [path for given in images for path in (_images_in(given) if given.is_dir() else [given])]
    names = [path.stem for path in paths]
    duplicate = next((path for path in paths if names.count(path.stem) > 1), None)
    if duplicate is not None:
        raise UserError(
            f"{duplicate}: another image is also named {duplicate.stem}; predict them into different folders"
        )
    given = {path.resolve() for path in paths}
    outputs = ((name, folder / f"{name}{end}") for name in names for end in MASK_ENDINGS)
    overwritten = next((name for name, output in outputs if output.resolve() in given), None)
    if overwritten is not None:
        raise UserError(f"{folder}: the image {overwritten} in it would be overwritten; choose another --out")
    for index in progress_bar("predicting")(range(len(paths))):
        pixels = read_pixels(paths[index])
        image = as_image(pixels)
        classes = class_map(logits_of(network, pixels), image.width, image.height)
        mask, overlay = (folder / f"{names[index]}{end}" for end in MASK_ENDINGS)
        write_file(mask, palette_png(classes, network.labels.palette()))
        write_file(overlay, overlay_jpeg(image, classes, network.labels))
    console.print(f"{len(paths)} images predicted: {escape(str(folder))}")


def submit(bundle: str, data: DataArguments, folder: Path) -> None:
    """Predict a split and pack the masks for the benchmark server of the data set."""
    archive = write_submission(_load(bundle), data.open(), folder, progress_bar("predicting"))
    console.print(f"upload {escape(str(archive))}")


def explain(bundle: str, image: Path, out: Path) -> None:
    """Write the page that explains one image."""
    require_place(out)
    explain_image(_load(bundle), image).save(out, printable_name(image.name))
    console.print(f"open {escape(str(out))}")


def report(bundle: str, out: Path, data: DataArguments | None = None) -> None:
    """Write the report on a model.

    Args:
        bundle: Folder or Hub id of the model.
        out: HTML file to write.
        data: Split for metrics and examples. If None, the report shows the metrics of the run that contains the model.
    """
    require_place(out)
    network = _load(bundle)
    if data is None:
        write_report(network, out, _metrics_beside(Path(bundle), network), [])
    else:
        dataset = data.open_for(network)
        metrics = measure(network, dataset, progress=progress_bar("measuring"))
        write_report(network, out, metrics.to_dict(), examples(dataset))
    console.print(f"open {escape(str(out))}")


def figures(bundle: str, data: DataArguments, folder: Path, images: Sequence[str]) -> None:
    """Write the figures for papers.

    Args:
        bundle: Folder or Hub id of the model.
        data: Split to measure, and to choose images from.
        folder: Folder to write to; created if it does not exist.
        images: Names of images to draw the classes on; if empty, each class is drawn on the image with most of its
            pixels.
    """
    require_place(folder, folder=True)
    network = _load(bundle)
    names = write_figures(network, data.open_for(network), folder, images, progress_bar("measuring"))
    console.print(f"{len(names)} figures, each as SVG and PNG: {escape(str(folder))}")


def import_official(file: Path, folder: Path, classes: str | None = None, data: DataArguments | None = None) -> None:
    """Convert a published checkpoint to a bundle.

    Args:
        file: The checkpoint; no code in it is run.
        folder: Folder of the bundle; must be empty or not exist.
        classes: Class names: a known data set, or a ``classes.yaml`` file.
        data: Training data, for the class names and the source of every prototype: its nearest training patch.

    Raises:
        UserError: If the checkpoint cannot be imported or has other classes, or the folder is not empty.
    """
    require_empty(folder)
    if data is None:
        network = load_official(file, named_table(classes) if classes else None)
    elif classes is None:
        dataset = data.open()
        network = load_official(file, dataset.labels).to(fastest_device())
        find_sources(network, dataset, progress_bar("finding training patches"))
    else:
        raise UserError(f"--classes {classes}: --data {data.data} names the classes already; leave one of them out")
    save(network, folder)
    known = sum(source is not None for source in network.sources)
    console.print(
        f"{network.method} with {len(network.labels)} classes and {len(network.sources)} prototypes, "
        f"{known} of them with a training patch: {escape(str(folder))}"
    )


def check_data(data: str, root: Path | None, split: str | None, parts: Path | None) -> bool:
    """Examine a data set and print all faults; return True if it can be used for training."""
    diagnosis = check.examine(data, split, root, parts, progress_bar("reading"))
    check.render(diagnosis, console)
    return not diagnosis.errors


def _load(bundle: str) -> Network:
    return load_model(bundle).to(fastest_device())


def _metrics_beside(bundle: Path, network: Network) -> dict[str, Any] | None:
    """Return the metrics of the run that contains a bundle; None if there are none, or they are of another model."""
    try:
        metrics = json.loads((bundle.parent / "metrics.json").read_text(encoding="utf-8"))
        same = metrics["method"] == network.method and list(metrics["iou"]) == list(network.labels.names)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return metrics if same else None


def _images_in(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    found = [path for path in files if not path.name.startswith(".")]
    if not found:
        raise UserError(f"{folder}: contains no image; give images or a folder of them")
    return found
