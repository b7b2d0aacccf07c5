"""Reading of recipes, by name, from a file, over a trained model or from plain values; errors name the key at fault."""

from __future__ import annotations

from argparse import SUPPRESS, Action
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, Namespace  # type: ignore[attr-defined]

from scaleprotoseg.errors import UserError, first_line
from scaleprotoseg.training.recipe import KINDS, Recipe, with_own_keys

RECIPES = Path(str(files("scaleprotoseg") / "recipes"))
"""Folder of the packaged recipes."""

CONFIG, FROM = "--config", "--from"
"""Options for the name or file of a recipe, and for a trained model to build a recipe over."""


class RecipeFile(ActionConfigFile):
    """An option that reads a recipe into the parsed arguments; keys that follow on the command line change it."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Read the recipe with a name or from a file, or build one over a trained model.

        Raises:
            UserError: If there is no such recipe or model, or a key is unknown or has a wrong value.
        """
        name = str(values)
        text = _recipe_text(name, option_string or CONFIG)
        try:
            super().__call__(parser, cfg, text, option_string)  # type: ignore[no-untyped-call]
        except (ArgumentError, TypeError, ValueError) as error:
            raise UserError(f"{name}: {_one_line(error)}; fix the recipe (see scaleprotoseg train --help)") from error


class ImagesFolder(Action):
    """An option that sets ``data.images`` in the parsed arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"default": SUPPRESS})

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Set the key."""
        cfg["data.images"] = Path(str(values))


def recipe_names() -> list[str]:
    """Return the names of the packaged recipes."""
    return sorted(path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.yaml"))


def read_recipe(arguments: Sequence[str]) -> Recipe:
    """Return the recipe that the command ``train`` reads from its arguments.

    >>> read_recipe(["--config", "camvid", "--seed", "3"]).seed
    3
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument(CONFIG, FROM, action=RecipeFile)
    parser.add_class_arguments(Recipe)
    return as_recipe(parser.instantiate(parser.parse_args(list(arguments))))


def recipe_from(values: Mapping[str, Any]) -> Recipe:
    """Build a recipe from plain values, as in a recipe file.

    Args:
        values: Keys of the recipe.

    Raises:
        UserError: If a key is unknown or missing, or has a wrong value.
    """
    values = with_own_keys(dict(values))
    check_phases(values, "recipe")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe)
    try:
        return as_recipe(parser.instantiate(parser.parse_object(values)))
    except ArgumentError as error:
        raise UserError(f"recipe: {_one_line(error)}; fix the recipe (see scaleprotoseg train --help)") from error


def as_recipe(values: Namespace) -> Recipe:
    """Build a recipe from parsed arguments, which may include arguments of other kinds."""
    return Recipe(**{field.name: values[field.name] for field in fields(Recipe)})


def check_phases(values: Any, name: str) -> None:
    """Check the kind, the keys and the types of values of every phase in a recipe.

    Args:
        values: The recipe, as plain values.
        name: Name of the recipe, for messages.

    Raises:
        UserError: If a phase is of an unknown kind, has a key that its kind does not have, or a value of a wrong type.
    """
    phases = values.get("phases") if isinstance(values, Mapping) else None
    for phase_name, phase in phases.items() if isinstance(phases, Mapping) else ():
        where = f"{name}: phases.{phase_name}"
        if not isinstance(phase, Mapping):
            raise UserError(f"{where}: is {first_line(ValueError(repr(phase)))}; give keys such as 'do: project'")
        do = phase.get("do", "fit")
        if not isinstance(do, str) or do not in KINDS:
            raise UserError(f"{where}: 'do: {do}' is unknown; choose one of {', '.join(KINDS)}")
        keys = [key.name for key in fields(KINDS[do])]
        if unknown := [str(key) for key in phase if key not in keys]:
            close = get_close_matches(unknown[0], keys, n=1)
            own = [key for key in keys if key != "do"]
            hint = (
                f"did you mean {close[0]}?" if close else f"its keys are {', '.join(own)}" if own else "it has no keys"
            )
            raise UserError(f"{where}: 'do: {do}' has no key {unknown[0]!r}; {hint}")
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(KINDS[do])
        try:
            parser.parse_object(dict(phase))
        except ArgumentError as error:
            raise UserError(f"{where}: {_one_line(error)}; correct the value") from error


def check_phase_arguments(arguments: Sequence[str]) -> None:
    """Check the phases in command-line arguments that cannot be parsed, for an error that names the key.

    Args:
        arguments: Arguments of the command line.

    Raises:
        UserError: If an argument ``--phases.NAME.KEY`` has an unknown phase or key, or a wrong value.
    """
    pairs: list[tuple[str, str]] = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if option.startswith("--"):
            pairs.append((option, value if equals else ""))
        elif pairs and not pairs[-1][1]:
            pairs[-1] = pairs[-1][0], argument
    recipe: dict[str, Any] = {}
    for option, value in pairs:
        if option in (CONFIG, FROM) and not value:
            return  # The parser has a message for this.
        if option in (CONFIG, FROM):
            recipe = yaml.safe_load(_recipe_text(value, option))
        elif option.startswith("--phases.") and option.count(".") >= 2:
            _, phase, key = option.split(".", 2)
            if phase not in recipe.get("phases", {}):
                raise UserError(
                    f"{option}: the recipe has no phase {phase!r}; it has {', '.join(recipe.get('phases', {}))}"
                )
            recipe["phases"][phase][key] = yaml.safe_load(value)
            check_phases(recipe, option)


def _recipe_text(name: str, option: str) -> str:
    """Return the text of a recipe, without the keys of other kinds of phases that have default values."""
    if option == FROM:
        from scaleprotoseg.training.black_box import recipe_over

        return yaml.safe_dump(recipe_over(name), sort_keys=False)
    path = _recipe_path(name)
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{name}: is not a readable YAML file ({_one_line(error)}); fix the recipe") from error
    own = with_own_keys(values)
    check_phases(own, name)
    return text if own == values else yaml.safe_dump(own, sort_keys=False)


def _recipe_path(name: str) -> Path:
    """Return the file of a recipe; the name of a data set alone stands for its scaleprotoseg recipe."""
    if Path(name).suffix in (".yaml", ".yml"):
        if not Path(name).is_file():
            raise UserError(f"{name}: no such recipe file; check the path")
        return Path(name)
    names = recipe_names()
    for candidate in (name, f"{name}/scaleprotoseg"):
        if candidate in names:
            return RECIPES / f"{candidate}.yaml"
    known = [*names, *{recipe.split("/")[0] for recipe in names}]
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(names)}"
    raise UserError(f"{name}: no such recipe; {hint}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
