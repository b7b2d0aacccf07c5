"""A whole run: train, measure, report; each stage of which is kept, so that a cut-off run goes on."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape

from scaleprotoseg.data import doctor
from scaleprotoseg.data.bands import as_image, read_pixels
from scaleprotoseg.data.dataset import Sample, SegmentationDataset
from scaleprotoseg.data.files import printable_name
from scaleprotoseg.data.images import IMAGE_SUFFIXES
from scaleprotoseg.data.labels import named_table
from scaleprotoseg.data.masks import palette_png
from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.distributed import is_main, together, wait
from scaleprotoseg.errors import UserError
from scaleprotoseg.evaluation import metrics as metrics_table
from scaleprotoseg.evaluation.metrics import Scores, measure
from scaleprotoseg.evaluation.submission import write_submission
from scaleprotoseg.explanation.overlay import overlay_jpeg
from scaleprotoseg.explanation.page import write_explanation
from scaleprotoseg.explanation.paper_figures.write import write_figures
from scaleprotoseg.explanation.report import write_report
from scaleprotoseg.files import require_empty, require_place, write_file
from scaleprotoseg.model.bundle import load
from scaleprotoseg.model.inference import class_map, fastest_device, logits_of
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.official import load_official
from scaleprotoseg.model.part_options import PAPER, PartOptions
from scaleprotoseg.training.curriculum import require_parts, require_teacher, run_phases, start
from scaleprotoseg.training.progress import over_pictures
from scaleprotoseg.training.projection import find_sources
from scaleprotoseg.training.recipe import Recipe

log = logging.getLogger(__name__)
console = Console()

EXAMPLES = 6
"""Pictures of the validation split in a report."""

MASK_ENDINGS = (".png", "_overlay.jpg")
"""Of the files that ``predict`` writes for a picture: train ids, and a colour overlay."""

BLACK_BOX = "black-box"
"""Folder of the black box's run inside a demo's."""


def train(recipe: Recipe, folder: Path, resume: bool = False) -> dict[str, Any]:
    """Trains a recipe and leaves a finished run in a folder.

    Args:
        recipe: The training.
        folder: Gets ``config.yaml``, ``logs/``, ``checkpoints/``, ``model/``, ``metrics.json``, ``report.html``.
        resume: Go on with the run that is in the folder.

    Returns:
        The content of ``metrics.json``.

    Raises:
        UserError: If the data or the recipe is unusable, or the folder holds another run.
    """
    with together():
        return _train(recipe, folder, resume)


def _train(recipe: Recipe, folder: Path, resume: bool) -> dict[str, Any]:
    """Trains as one of the processes that do; the main one writes."""
    data = recipe.data
    training, validation = (open_dataset(data.name, split, data.root, data.parts) for split in (data.split, "val"))
    require_parts(recipe, training)
    require_teacher(recipe, training)
    network, done = start(recipe, training.labels, folder)
    history = folder / "logs" / "phases.json"
    phases: dict[str, Any] = json.loads(history.read_text(encoding="utf-8")) if history.is_file() else {}
    wait()  # Nobody looks for traces of an earlier run any more.
    if is_main():
        _claim(folder, recipe, resume)

    last = list(recipe.phases)[-1]

    def after_phase(name: str, network: Network) -> None:
        progress = over_pictures(f"measuring after {name}")
        scores: Scores = "explanations" if name == last else "segmentation"
        phases[name] = measure(network, validation, recipe.seed, scores, progress=progress)
        log.info("after %s: mIoU %.3f", name, phases[name]["miou"] or float("nan"))
        if is_main():
            _write_metrics(history, phases)

    run_phases(network, done, recipe, training, folder, after_phase)
    metrics: dict[str, Any] = phases[last]
    if is_main():
        network.save_pretrained(folder / "model")
        _write_metrics(folder / "metrics.json", metrics)
        write_report(network, folder / "report.html", metrics, examples(validation))
        metrics_table.render(metrics, console)
    return metrics


def demo(black_box: Recipe, explaining: Recipe, folder: Path, resume: bool = False) -> None:
    """Trains a black box, then a model that explains itself from the black box's encoder.

    Args:
        black_box: Its recipe; the run is kept inside the other's, as ``black-box``.
        explaining: The explaining model's recipe, whose warm start is that black box.
        folder: The explaining model's run.
        resume: Go on with what is there.
    """
    box = train(black_box, folder / BLACK_BOX, resume)
    ours = train(explaining, folder, resume)
    console.print(
        f"{ours['method']} reaches mIoU {ours['miou']:.3f}, {ours['miou'] / box['miou']:.3f} of the black box's "
        f"{box['miou']:.3f}, and explains every pixel: open {escape(str(folder / 'report.html'))}"
    )


def evaluate(
    bundle: str,
    data: str,
    root: Path | None,
    split: str,
    parts: Path | None = None,
    out: Path | None = None,
    scores: Scores = "explanations",
    options: PartOptions = PAPER,
) -> None:
    """Measures a bundle on a split, prints the scores and writes them if a file is given.

    Args:
        bundle: A bundle's folder or Hub id.
        data: Data set.
        root: Folder of a named data set.
        split: Its split.
        parts: Where its part labels lie, if they lie apart.
        out: A file for the scores.
        scores: How much to measure.
        options: Variant of consistency and stability.
    """
    if out is not None:
        require_place(out)
    with together():
        network, dataset = _load(bundle), open_dataset(data, split, root, parts)
        metrics = measure(network, dataset, None, scores, options, over_pictures("measuring"))
        if is_main():
            if network.prototypes is None and scores != "segmentation":
                console.print("a model without prototypes: there are no explanations to measure")
            metrics_table.render(metrics, console)
            if out is not None:
                _write_metrics(out, metrics)


def predict(bundle: str, images: Sequence[Path], folder: Path) -> None:
    """Writes ``NAME.png`` (train ids, with the class colours as palette) and ``NAME_overlay.jpg`` for pictures.

    Args:
        bundle: A bundle's folder or Hub id.
        images: Pictures, or folders of pictures.
        folder: Where to write.

    Raises:
        UserError: If a picture is unreadable, two would be written to one name, or one would be overwritten.
    """
    require_place(folder, folder=True)
    network = _load(bundle)
    paths = [path for given in images for path in (_pictures_in(given) if given.is_dir() else [given])]
    names = [path.stem for path in paths]
    twice = next((path for path in paths if names.count(path.stem) > 1), None)
    if twice is not None:
        raise UserError(f"{twice}: another picture is named {twice.stem} too; predict them into different folders")
    given = {path.resolve() for path in paths}
    lost = next((name for name in names for end in MASK_ENDINGS if (folder / f"{name}{end}").resolve() in given), None)
    if lost is not None:
        raise UserError(f"{folder}: the picture {lost} in it would be overwritten; choose another --out")
    for index in over_pictures("predicting")(range(len(paths))):
        pixels = read_pixels(paths[index])
        image = as_image(pixels)
        classes = class_map(logits_of(network, pixels), image.width, image.height)
        mask, overlay = (folder / f"{names[index]}{end}" for end in MASK_ENDINGS)
        write_file(mask, palette_png(classes, network.labels.palette()))
        write_file(overlay, overlay_jpeg(image, classes, network.labels))
    console.print(f"{len(paths)} pictures predicted: {escape(str(folder))}")


def submit(bundle: str, data: str, root: Path | None, split: str, folder: Path) -> None:
    """Predicts a split and packs the masks for the data set's benchmark server."""
    archive = write_submission(_load(bundle), open_dataset(data, split, root), folder, over_pictures("predicting"))
    console.print(f"upload {escape(str(archive))}")


def explain(bundle: str, image: Path, out: Path) -> None:
    """Writes the page that explains one picture."""
    require_place(out)
    write_explanation(_load(bundle).explain(image), out, printable_name(image.name))
    console.print(f"open {escape(str(out))}")


def report(bundle: str, out: Path, data: str | None, root: Path | None, split: str) -> None:
    """Writes the page on a model; with data it is measured, else the metrics of its run are shown.

    Args:
        bundle: A bundle's folder or Hub id.
        out: The page.
        data: Data set for metrics and examples.
        root: Folder of a named data set.
        split: Its split.
    """
    require_place(out)
    network = _load(bundle)
    if data is not None:
        dataset = open_dataset(data, split, root)
        write_report(network, out, measure(network, dataset, progress=over_pictures("measuring")), examples(dataset))
    else:
        write_report(network, out, _metrics_beside(Path(bundle), network), [])
    console.print(f"open {escape(str(out))}")


def figures(bundle: str, data: str, root: Path | None, split: str, folder: Path, images: Sequence[str]) -> None:
    """Writes the figures for papers.

    Args:
        bundle: A bundle's folder or Hub id.
        data: Data set they are measured and drawn on.
        root: Folder of a named data set.
        split: Its split.
        folder: Where to write; made if missing.
        images: Names of the pictures that classes are drawn on; none = those that show most of each.
    """
    require_place(folder, folder=True)
    dataset = open_dataset(data, split, root)
    names = write_figures(_load(bundle), dataset, folder, images, over_pictures("measuring"))
    console.print(f"{len(names)} figures, each as SVG and PNG: {escape(str(folder))}")


def import_official(
    file: Path, folder: Path, classes: str | None, data: str | None, root: Path | None, split: str
) -> None:
    """Writes a published checkpoint as a bundle.

    Args:
        file: The checkpoint, read without running anything it names.
        folder: The bundle to write; must not hold anything yet.
        classes: A known data set or a ``classes.yaml`` that names its classes.
        data: Training data: names the classes, and gives every prototype the nearest patch as its source.
        root: Folder of a named data set.
        split: Its split.

    Raises:
        UserError: If the checkpoint cannot be imported, does not have these classes, or the folder is not empty.
    """
    require_empty(folder)
    if data is None:
        network = load_official(file, named_table(classes) if classes else None)
    elif classes is None:
        dataset = open_dataset(data, split, root)
        network = load_official(file, dataset.labels).to(fastest_device())
        find_sources(network, dataset, over_pictures("finding training patches"))
    else:
        raise UserError(f"--classes {classes}: --data {data} names the classes already; leave one of them out")
    network.save_pretrained(folder)
    known = sum(source is not None for source in network.sources)
    console.print(
        f"{network.method} with {len(network.labels)} classes and {len(network.sources)} prototypes, "
        f"{known} of them with a training patch: {escape(str(folder))}"
    )


def check_data(data: str, root: Path | None, split: str | None, parts: Path | None) -> bool:
    """Examines a data set, prints all faults, and says whether a training would run."""
    diagnosis = doctor.examine(data, split, root, parts, over_pictures("reading"))
    doctor.render(diagnosis, console)
    return not diagnosis.errors


def examples(dataset: SegmentationDataset) -> list[Sample]:
    """Samples spread evenly over a split."""
    count = min(EXAMPLES, len(dataset))
    return [dataset[index * len(dataset) // count] for index in range(count)]


def _load(bundle: str) -> Network:
    return load(bundle).to(fastest_device())


def _metrics_beside(bundle: Path, network: Network) -> dict[str, Any] | None:
    """The metrics of a bundle's run, unless there are none or they are another model's."""
    try:
        metrics = json.loads((bundle.parent / "metrics.json").read_text(encoding="utf-8"))
        same = metrics["method"] == network.method and list(metrics["iou"]) == list(network.labels.names)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return metrics if same else None


def _write_metrics(path: Path, metrics: dict[str, Any]) -> None:
    write_file(path, json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")


def _pictures_in(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    found = [path for path in files if not path.name.startswith(".")]
    if not found:
        raise UserError(f"{folder}: holds no picture; give pictures or a folder of them")
    return found


def _claim(folder: Path, recipe: Recipe, resume: bool) -> None:
    """Makes the folder this recipe's, or finds that it is."""
    config = folder / "config.yaml"
    text = yaml.safe_dump(_plain(asdict(recipe)), sort_keys=False, allow_unicode=True)
    if not config.is_file():
        if folder.is_dir() and any(child.name != BLACK_BOX for child in folder.iterdir()):
            raise UserError(f"{folder}: is not empty and holds no run; choose another --out")
        write_file(config, text)
    elif not resume:
        raise UserError(f"{folder}: already holds a run; add --resume to go on with it, or choose another --out")
    elif config.read_text(encoding="utf-8") != text:
        keys = _differences(yaml.safe_load(config.read_text(encoding="utf-8")), yaml.safe_load(text))
        raise UserError(f"{config}: the run was begun with other values of {', '.join(keys)}; choose another --out")


def _plain(value: Any) -> Any:
    """Tuples and paths as YAML writes them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [where for key in keys for where in _differences(old.get(key), new.get(key), f"{prefix}{key}.")]
    return [] if old == new else [prefix.rstrip(".")]
