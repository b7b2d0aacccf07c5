"""The command line: parsing only."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml
from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, Namespace  # type: ignore[attr-defined]
from jsonargparse.typing import PositiveInt

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.part_options import PartOptions
from scaleprotoseg.training.recipe import Recipe

RECIPES = files("scaleprotoseg") / "recipes"

OVER = "over:"
"""Before a black box's name where a recipe is asked for: the recipe that follows from it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command; ends the process with 0, or with one line on standard error and 1 (2 for bad arguments)."""
    try:
        run(list(sys.argv[1:] if arguments is None else arguments))
    except ArgumentError as error:
        _fail(str(error), 2)
    except UserError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("stopped", 130)


def run(arguments: Sequence[str]) -> None:
    """Runs one command, in as many processes as it asks for.

    Raises:
        ArgumentError: If the arguments cannot be parsed.
        UserError: If the user can mend it.
    """
    _quiet_libraries()
    parser, commands = _parser()
    parsed = parser.instantiate(parser.parse_args(_without_from(arguments)))
    chosen = parsed[parsed.command]
    devices, nodes = chosen.get("devices", 1), chosen.get("num_nodes", 1)
    if devices * nodes > 1 and not chosen.get("sanity_check"):
        from scaleprotoseg.distributed import in_processes, was_started

        if not was_started():
            in_processes(run, arguments, devices, nodes)
            return
    commands[parsed.command](chosen)


def _parser() -> tuple[ArgumentParser, dict[str, Callable[[Namespace], None]]]:
    parser = ArgumentParser(
        prog="scaleprotoseg",
        description="Train, measure and use segmentation models that explain themselves.",
        exit_on_error=False,
    )
    subcommands = parser.add_subcommands(dest="command")
    commands: dict[str, Callable[[Namespace], None]] = {}

    def add(name: str, run: Callable[[Namespace], None], description: str) -> ArgumentParser:
        sub = ArgumentParser(description=description, exit_on_error=False)
        subcommands.add_subcommand(name, sub, help=description)
        commands[name] = run
        return sub

    sub = add("demo", _demo, "The whole pipeline on the drawn street scenes, then metrics and the report.")
    sub.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the run")
    sub.add_argument("--resume", action="store_true", help="go on with the run in --out")
    sub.add_argument("--seed", type=int, default=0, help="of all random numbers")

    sub = add("train", _train, "All phases of a recipe; any key of the recipe can be given as --key value.")
    sub.add_argument("--config", action=RecipeFile, help=f"a recipe file, or one of {', '.join(_recipe_names())}")
    sub.add_argument(
        "--from",
        help="a trained model that is to explain itself: a black box of ours, from which everything not said otherwise "
        "follows; or timm/, torchvision/ or transformers/ and a model there",
    )
    sub.add_argument("--out", type=Path, help="folder of the run; runs/<data>-<method> by default")
    sub.add_argument("--resume", action="store_true", help="go on with the run in --out")
    sub.add_argument(
        "--sanity-check",
        action="store_true",
        help="only a few steps of every phase, on whatever data there is, and what the whole training would need",
    )
    _add_devices(sub)
    sub.add_class_arguments(Recipe)

    sub = add("evaluate", _evaluate, "Scores of a model on a split: of the segmentation, and of the explanations.")
    _add_bundle(sub)
    _add_data(sub, default_split="val")
    sub.add_argument(
        "--scores",
        type=Literal["segmentation", "explanations", "all"],
        default="explanations",
        help="how much to measure: IoU alone; also consistency, stability and overlap; also whether the evidence shown "
        "is the evidence used",
    )
    _add_parts(sub)
    sub.add_class_arguments(PartOptions, "part_scores")
    sub.add_argument("--out", type=Path, help="also write the metrics to this JSON file")
    _add_devices(sub)

    sub = add("predict", _predict, "Index masks (PNG) and colour overlays of pictures of any size.")
    _add_bundle(sub)
    sub.add_argument("images", nargs="+", type=Path, help="pictures, or folders of pictures")
    sub.add_argument("--out", type=Path, required=True, help="folder for NAME.png and NAME_overlay.jpg")

    sub = add("submit", _submit, "Masks of a test set, packed as the servers of voc2012 and cityscapes take them.")
    _add_bundle(sub)
    _add_data(sub, default_split="test")
    sub.add_argument("--out", type=Path, required=True, help="folder for the masks and the archive to upload")

    sub = add("explain", _explain, "A page on one picture: click any pixel to see why it got its class.")
    _add_bundle(sub)
    sub.add_argument("image", type=Path, help="a picture")
    sub.add_argument("--out", type=Path, required=True, help="the HTML page to write")

    sub = add("report", _report, "A page on the model itself: classes, groups, prototypes, sources, metrics.")
    _add_bundle(sub)
    _add_data(sub, default_split="val", required=False)
    sub.add_argument("--out", type=Path, required=True, help="the HTML page to write")

    sub = add("figures", _figures, "Figures for papers: each class's groups on a picture, scales, overlap.")
    _add_bundle(sub)
    _add_data(sub, default_split="val")
    sub.add_argument("--out", type=Path, required=True, help="folder for NAME.svg and NAME.png")
    sub.add_argument(
        "--image", nargs="+", default=[], help="names of pictures to draw classes on; what shows most by default"
    )

    sub = add("import-official", _import_official, "A published checkpoint as a model; nothing in the file is run.")
    sub.add_argument("file", type=Path, help="a .pth file as the authors of ScaleProtoSeg or ProtoSeg published it")
    sub.add_argument("--out", type=Path, required=True, help="the model folder to write")
    sub.add_argument("--classes", help="its classes: a known data set's name or a classes.yaml; numbered by default")
    _add_data(sub, default_split="train", required=False)

    sub = add("check-data", _check_data, "Finds what would break a training, before training.")
    _add_data(sub, default_split=None)
    _add_parts(sub)
    return parser, commands


def _without_from(arguments: Sequence[str]) -> list[str]:
    """Arguments in which the recipe over a black box is a recipe like others, so that what follows may change it."""
    if arguments[:1] != ["train"]:
        return list(arguments)
    rewritten: list[str] = []
    for argument in arguments:
        if argument.startswith("--from="):
            rewritten += ["--config", OVER + argument.removeprefix("--from=")]
        elif rewritten[-1:] == ["--from"]:
            rewritten[-1:] = ["--config", OVER + argument]
        else:
            rewritten.append(argument)
    return rewritten


def _add_bundle(sub: ArgumentParser) -> None:
    sub.add_argument("bundle", help="the model folder of a run, or a Hugging Face Hub id")


def _add_data(sub: ArgumentParser, default_split: str | None, required: bool = True) -> None:
    sub.add_argument("--data", required=required, help="a data set's name, or a folder with images/ and masks/")
    sub.add_argument("--root", type=Path, help="the folder of a named data set")
    sub.add_argument("--split", default=default_split, help="train, val, test or what else there is")


def _add_parts(sub: ArgumentParser) -> None:
    sub.add_argument("--parts", type=Path, help="where part labels lie: a folder of Panoptic Parts, a keypoints file")


def _add_devices(sub: ArgumentParser) -> None:
    sub.add_argument("--devices", type=PositiveInt, default=1, help="GPUs (without any: processes) that share the work")
    sub.add_argument("--num-nodes", type=PositiveInt, default=1, help="machines; torchrun may start them as well")


class RecipeFile(ActionConfigFile):
    """A recipe by its packaged name or by its path."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Reads the recipe into the configuration.

        Raises:
            UserError: If there is no such recipe, or it does not fit.
        """
        name = str(values).removeprefix(OVER)
        with _recipe_file(str(values)) as path:
            try:
                super().__call__(parser, cfg, str(path), option_string)  # type: ignore[no-untyped-call]
            except (ArgumentError, TypeError, ValueError) as error:
                raise UserError(f"{name}: {error}; mend the recipe (see scaleprotoseg train --help)") from error


@contextmanager
def _recipe_file(name: str) -> Iterator[Path]:
    """The file of a recipe by its name or path; of one over a black box, for the length of a block."""
    if not name.startswith(OVER):
        yield _recipe_path(name)
        return
    from scaleprotoseg.training.black_box import recipe_over

    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        yaml.safe_dump(recipe_over(name.removeprefix(OVER)), file, sort_keys=False)
        file.flush()
        yield Path(file.name)


def _recipe_names() -> list[str]:
    root = Path(str(RECIPES))
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def _recipe_path(name: str) -> Path:
    """The file of a recipe; a data set's name alone means its scaleprotoseg recipe."""
    if Path(name).suffix in (".yaml", ".yml"):
        if not Path(name).is_file():
            raise UserError(f"{name}: no such recipe file; check the path")
        return Path(name)
    for candidate in (name, f"{name}/scaleprotoseg"):
        if candidate in _recipe_names():
            return Path(str(RECIPES)) / f"{candidate}.yaml"
    known = [*_recipe_names(), *{recipe.split("/")[0] for recipe in _recipe_names()}]
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(_recipe_names())}"
    raise UserError(f"{name}: no such recipe; {hint}")


def _recipe(arguments: Sequence[str]) -> Recipe:
    """The recipe that ``train`` would read from these arguments."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action=RecipeFile)
    parser.add_class_arguments(Recipe)
    return _as_recipe(parser.instantiate(parser.parse_args(list(arguments))))


def _as_recipe(values: Namespace) -> Recipe:
    return Recipe(**{field.name: values[field.name] for field in fields(Recipe)})


def _demo(parsed: Namespace) -> None:
    from scaleprotoseg.pipeline import BLACK_BOX, demo

    seed = ["--seed", str(parsed.seed)]
    black_box = _recipe(["--config", "scenes/deeplabv2", *seed])
    start = str(parsed.out / BLACK_BOX / "model")
    explaining = _recipe(["--config", "scenes/scaleprotoseg-from-black-box", "--warm_start", start, *seed])
    demo(black_box, explaining, parsed.out, parsed.resume)


def _train(parsed: Namespace) -> None:
    recipe = _as_recipe(parsed)
    if parsed.sanity_check:
        from scaleprotoseg.sanity import sanity_check

        sanity_check(recipe)
        return
    from scaleprotoseg.pipeline import train

    train(recipe, parsed.out or Path("runs") / f"{Path(recipe.data.name).name}-{recipe.method}", parsed.resume)


def _evaluate(parsed: Namespace) -> None:
    from scaleprotoseg.pipeline import evaluate

    where = parsed.data, parsed.root, parsed.split, parsed.parts
    evaluate(parsed.bundle, *where, parsed.out, parsed.scores, parsed.part_scores)


def _predict(parsed: Namespace) -> None:
    from scaleprotoseg.pipeline import predict

    predict(parsed.bundle, parsed.images, parsed.out)


def _submit(parsed: Namespace) -> None:
    from scaleprotoseg.pipeline import submit

    submit(parsed.bundle, parsed.data, parsed.root, parsed.split, parsed.out)


def _explain(parsed: Namespace) -> None:
    from scaleprotoseg.pipeline import explain

    explain(parsed.bundle, parsed.image, parsed.out)


def _report(parsed: Namespace) -> None:
    from scaleprotoseg.pipeline import report

    report(parsed.bundle, parsed.out, parsed.data, parsed.root, parsed.split)


def _figures(parsed: Namespace) -> None:
    from scaleprotoseg.pipeline import figures

    figures(parsed.bundle, parsed.data, parsed.root, parsed.split, parsed.out, parsed.image)


def _import_official(parsed: Namespace) -> None:
    from scaleprotoseg.pipeline import import_official

    import_official(parsed.file, parsed.out, parsed.classes, parsed.data, parsed.root, parsed.split)


def _check_data(parsed: Namespace) -> None:
    from scaleprotoseg.pipeline import check_data

    if not check_data(parsed.data, parsed.root, parsed.split, parsed.parts):
        raise SystemExit(1)


def _quiet_libraries() -> None:
    """Leaves the user our own lines: libraries' banners, tips and internal deprecations stay out."""
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
