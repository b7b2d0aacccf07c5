"""The command line: only parsing; the commands themselves are in ``pipeline`` and ``sanity``."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, NoReturn

from jsonargparse import ArgumentError, ArgumentParser, Namespace
from jsonargparse.typing import PositiveInt

from scaleprotoseg.errors import UserError
from scaleprotoseg.inference.part_options import PartOptions
from scaleprotoseg.recipe_files import (
    CONFIG,
    FROM,
    ImagesFolder,
    RecipeFile,
    as_recipe,
    check_phase_arguments,
    read_recipe,
    recipe_names,
)
from scaleprotoseg.training.recipe import Recipe

if TYPE_CHECKING:
    from scaleprotoseg.pipeline.commands import DataArguments


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit with 0, or with one line on standard error and 1 (2 for bad arguments, 130 if stopped)."""
    try:
        run(list(sys.argv[1:] if arguments is None else arguments))
    except ArgumentError as error:
        _fail(str(error), 2)
    except UserError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("stopped", 130)


def run(arguments: Sequence[str]) -> None:
    """Run one command, in as many processes as it asks for.

    Raises:
        ArgumentError: If the arguments cannot be parsed.
        UserError: If there is a mistake that the user can fix.
    """
    _quiet_libraries()
    parser = _parser()
    try:
        parsed = parser.instantiate(parser.parse_args(list(arguments)))
    except ArgumentError:
        check_phase_arguments(arguments)
        raise
    chosen = parsed[parsed.command]
    devices, nodes = chosen.get("devices", 1), chosen.get("num_nodes", 1)
    if devices * nodes > 1 and not chosen.get("sanity_check"):
        from scaleprotoseg.distributed import in_processes, was_started

        if not was_started():
            in_processes(run, arguments, devices, nodes)
            return
    COMMANDS[parsed.command].run(chosen)


class Command(NamedTuple):
    """A command of the command line.

    Attributes:
        description: Text of its help.
        add_arguments: Adds its arguments to a parser.
        run: Runs it with parsed arguments.
    """

    description: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], None]


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="scaleprotoseg",
        description="Train, measure and use segmentation models that explain themselves.",
        version=version("scaleprotoseg"),
        exit_on_error=False,
    )
    subcommands = parser.add_subcommands(dest="command")
    for name, command in COMMANDS.items():
        sub = ArgumentParser(description=command.description, exit_on_error=False)
        subcommands.add_subcommand(name, sub, help=command.description)
        command.add_arguments(sub)
    return parser


def _add_demo(sub: ArgumentParser) -> None:
    sub.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the run")
    sub.add_argument("--resume", action="store_true", help="continue the run in --out")
    sub.add_argument("--seed", type=int, default=0, help="seed of all random numbers")


def _demo(parsed: Namespace) -> None:
    from scaleprotoseg.pipeline.training import demo

    demo(read_recipe([CONFIG, "scenes/demo", "--seed", str(parsed.seed)]), parsed.out, parsed.resume)


def _add_train(sub: ArgumentParser) -> None:
    sub.add_argument(
        CONFIG,
        FROM,
        action=RecipeFile,
        metavar="RECIPE",
        help=f"{CONFIG}: a recipe file, or one of {', '.join(recipe_names())}. {FROM}: a trained model to explain: a "
        "black box of this library, which determines all other keys, or timm/, torchvision/ or transformers/ and the "
        "name of a model there",
    )
    sub.add_argument("--out", type=Path, help="folder of the run; by default runs/<data>-<method>")
    sub.add_argument("--resume", action="store_true", help="continue the run in --out")
    sub.add_argument(
        "--sanity_check",
        action="store_true",
        help="run only a few steps of every phase, on the data that is there, and estimate the time, memory and disk "
        "space of the whole training",
    )
    _add_devices(sub)
    sub.add_class_arguments(Recipe)
    sub.add_argument("--images", action=ImagesFolder, metavar="FOLDER", help="short for --data.images")


def _train(parsed: Namespace) -> None:
    recipe = as_recipe(parsed)
    if parsed.sanity_check:
        from scaleprotoseg.sanity import sanity_check

        sanity_check(recipe)
        return
    from scaleprotoseg.pipeline.training import train

    data = Path(recipe.data.name or recipe.data.images or "").name
    train(recipe, parsed.out or Path("runs") / f"{data}-{recipe.method}", parsed.resume)


def _add_evaluate(sub: ArgumentParser) -> None:
    _add_bundle(sub)
    _add_data(sub, default_split="val")
    _add_mapping(sub)
    sub.add_argument(
        "--scores",
        type=Literal["segmentation", "explanations", "all"],
        default="explanations",
        help="extent: segmentation measures only the IoU; explanations also consistency, stability and overlap; all "
        "also the faithfulness of the explanations",
    )
    _add_parts(sub)
    sub.add_class_arguments(PartOptions, "part_scores")
    sub.add_argument("--out", type=Path, help="JSON file to write the metrics to")
    _add_devices(sub)


def _evaluate(parsed: Namespace) -> None:
    from scaleprotoseg.pipeline.commands import evaluate

    evaluate(parsed.bundle, _data_arguments(parsed), parsed.out, parsed.scores, parsed.part_scores)


def _add_predict(sub: ArgumentParser) -> None:
    _add_bundle(sub)
    sub.add_argument("images", nargs="+", type=Path, help="images, or folders of images")
    sub.add_argument("--out", type=Path, required=True, help="folder for NAME.png and NAME_overlay.jpg")


def _predict(parsed: Namespace) -> None:
    from scaleprotoseg.pipeline.commands import predict

    predict(parsed.bundle, parsed.images, parsed.out)


def _add_submit(sub: ArgumentParser) -> None:
    _add_bundle(sub)
    _add_data(sub, default_split="test")
    sub.add_argument("--out", type=Path, required=True, help="folder for the masks and the archive to upload")


def _submit(parsed: Namespace) -> None:
    from scaleprotoseg.pipeline.commands import submit

    submit(parsed.bundle, _data_arguments(parsed), parsed.out)


def _add_explain(sub: ArgumentParser) -> None:
    _add_bundle(sub)
    sub.add_argument("image", type=Path, help="an image")
    sub.add_argument("--out", type=Path, required=True, help="HTML page to write")


def _explain(parsed: Namespace) -> None:
    from scaleprotoseg.pipeline.commands import explain

    explain(parsed.bundle, parsed.image, parsed.out)


def _add_report(sub: ArgumentParser) -> None:
    _add_bundle(sub)
    _add_data(sub, default_split="val", required=False)
    _add_mapping(sub)
    sub.add_argument("--out", type=Path, required=True, help="HTML page to write")


def _report(parsed: Namespace) -> None:
    from scaleprotoseg.pipeline.commands import report

    report(parsed.bundle, parsed.out, _data_arguments(parsed) if parsed.data else None)


def _add_figures(sub: ArgumentParser) -> None:
    _add_bundle(sub)
    _add_data(sub, default_split="val")
    _add_mapping(sub)
    sub.add_argument("--out", type=Path, required=True, help="folder for NAME.svg and NAME.png")
    sub.add_argument(
        "--image",
        nargs="+",
        default=[],
        help="names of images to show classes on; by default, each class is shown on the image with most of its pixels",
    )


def _figures(parsed: Namespace) -> None:
    from scaleprotoseg.pipeline.commands import figures

    figures(parsed.bundle, _data_arguments(parsed), parsed.out, parsed.image)


def _add_import_official(sub: ArgumentParser) -> None:
    sub.add_argument("file", type=Path, help="a .pth file as published by the authors of ScaleProtoSeg or ProtoSeg")
    sub.add_argument("--out", type=Path, required=True, help="model folder to write")
    sub.add_argument("--classes", help="class names: a known data set or a classes.yaml file; by default numbers")
    _add_data(sub, default_split="train", required=False)


def _import_official(parsed: Namespace) -> None:
    from scaleprotoseg.pipeline.commands import import_official

    import_official(parsed.file, parsed.out, parsed.classes, _data_arguments(parsed) if parsed.data else None)


def _add_check_data(sub: ArgumentParser) -> None:
    _add_data(sub, default_split=None)
    _add_parts(sub)


def _check_data(parsed: Namespace) -> None:
    from scaleprotoseg.pipeline.commands import check_data

    if not check_data(parsed.data, parsed.root, parsed.split, parsed.parts):
        raise SystemExit(1)


def _add_bundle(sub: ArgumentParser) -> None:
    sub.add_argument(
        "bundle",
        help="model folder of a run, or Hugging Face Hub id; or transformers/, torchvision/ or smp/ and a segmentation "
        "model of that library",
    )


def _add_data(sub: ArgumentParser, default_split: str | None, required: bool = True) -> None:
    sub.add_argument("--data", required=required, help="a known data set, or a folder with images/ and masks/")
    sub.add_argument("--root", type=Path, help="folder of a known data set")
    sub.add_argument("--split", default=default_split, help="train, val, test, or another split of the data set")


def _add_mapping(sub: ArgumentParser) -> None:
    sub.add_argument(
        "--mapping",
        type=Path,
        help="YAML file with lines 'class of the data: class of the model', for classes whose names differ",
    )


def _add_parts(sub: ArgumentParser) -> None:
    sub.add_argument(
        "--parts", type=Path, help="annotations of object parts: a folder of Panoptic Parts, or a keypoints file"
    )


def _add_devices(sub: ArgumentParser) -> None:
    sub.add_argument(
        "--devices", type=PositiveInt, default=1, help="number of GPUs (of processes, on a machine without GPUs)"
    )
    sub.add_argument(
        "--num_nodes", type=PositiveInt, default=1, help="number of machines; torchrun can start them as well"
    )


def _data_arguments(parsed: Namespace) -> DataArguments:
    from scaleprotoseg.pipeline.commands import DataArguments

    return DataArguments(parsed.data, parsed.split, parsed.root, parsed.get("parts"), parsed.get("mapping"))


COMMANDS = {
    "demo": Command(
        "Run the whole pipeline on synthetic street scenes; ends with metrics and a report.", _add_demo, _demo
    ),
    "train": Command(
        "Train all phases of a recipe. Any key of the recipe can be changed with --key value.", _add_train, _train
    ),
    "evaluate": Command(
        "Measure the segmentation and the explanations of a model on a split.", _add_evaluate, _evaluate
    ),
    "predict": Command("Predict index masks (PNG) and color overlays for images of any size.", _add_predict, _predict),
    "submit": Command(
        "Predict a test set and pack the masks for the benchmark server of voc2012 or cityscapes.",
        _add_submit,
        _submit,
    ),
    "explain": Command(
        "Write a page that explains one image: click any pixel to see why it got its class.", _add_explain, _explain
    ),
    "report": Command(
        "Write a report on a model: classes, groups, prototypes, sources and metrics.", _add_report, _report
    ),
    "figures": Command(
        "Draw figures for papers: the groups of each class on an image, scales and overlap.", _add_figures, _figures
    ),
    "import-official": Command(
        "Convert a published checkpoint to a model; no code in the file is run.",
        _add_import_official,
        _import_official,
    ),
    "check-data": Command("Find everything in the data that would make training fail.", _add_check_data, _check_data),
}
"""Commands by name, in the order of the help."""


def _quiet_libraries() -> None:
    """Hide the banners, tips and deprecation warnings of other libraries."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("scaleprotoseg").setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.ERROR)
    logging.getLogger("torch.multiprocessing").setLevel(logging.ERROR)
    for name in ("lightning.pytorch", "lightning.fabric"):
        for logger in (name, f"{name}.utilities.rank_zero"):
            logging.getLogger(logger).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(lightning|torch|timm|torchmetrics|PIL)\..*")


def _fail(message: str, code: int) -> NoReturn:
    line = " ".join(message.encode("utf-8", "replace").decode("utf-8").split())
    print(f"error: {line}", file=sys.stderr)
    raise SystemExit(code)
