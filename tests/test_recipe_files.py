"""Recipes by name, file and command line: the order of what is given, and errors that name the key."""

from __future__ import annotations

import pytest
import yaml

from scaleprotoseg import cli
from scaleprotoseg.errors import UserError
from scaleprotoseg.recipe_files import check_phase_arguments, read_recipe, recipe_names
from tests.builders.recipes import recipe_values


@pytest.mark.parametrize("name", recipe_names())
def test_every_packaged_recipe_is_read(name):
    recipe = read_recipe(["--config", name])
    assert recipe.phases and recipe.method.startswith(("deeplabv2", "protoseg", "scaleprotoseg"))


def test_a_data_set_alone_means_its_scaleprotoseg_recipe():
    assert read_recipe(["--config", "camvid"]) == read_recipe(["--config", "camvid/scaleprotoseg"])


def test_later_arguments_win(tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe_values(), sort_keys=False))
    file = str(tmp_path / "recipe.yaml")
    assert read_recipe(["--config", file, "--phases.joint.steps", "7", "--seed=5"]).phases["joint"].steps == 7
    assert read_recipe(["--config", file, "--seed=5"]).seed == 5


def test_a_recipe_comes_back_from_its_own_file(tmp_path):
    recipe = read_recipe(["--config", "scenes/scaleprotoseg-parts"])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(recipe.to_dict(), sort_keys=False))
    assert read_recipe(["--config", str(tmp_path / "config.yaml")]) == recipe
    assert recipe.to_dict()["phases"]["projection"] == {"do": "project"}


ARGUMENTS = {
    "--phases.pruning.steps=3": "'do: prune' has no key 'steps'; its keys are threshold",
    "--phases.joint.steeps=3": "'do: fit' has no key 'steeps'; did you mean steps?",
    "--phases.pruning.threshold=lots": "Expected a <class 'float'>. Got value: lots",
    "--phases.nowhere.threshold=lots": "the recipe has no phase 'nowhere'; it has joint, projection",
    "--phases.projection.do=projct": "'do: projct' is unknown; choose one of fit",
}


@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize("together", [True, False])
def test_a_wrong_key_of_a_phase_is_named(argument, together, tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe_values(), sort_keys=False))
    given = [argument] if together else argument.split("=")
    arguments = ["--config", str(tmp_path / "recipe.yaml"), *given]
    with pytest.raises(UserError) as error:
        check_phase_arguments(arguments)
    assert ARGUMENTS[argument] in str(error.value)
    if "nowhere" in argument:
        return
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", *arguments])
    printed = capsys.readouterr().err
    assert stop.value.code == 1 and printed.startswith("error: ") and printed.count("\n") == 1
    assert ARGUMENTS[argument] in printed


UNREADABLE = {
    "method: [": "is not a readable YAML file",
    "": "fix the recipe",
    "7": "fix the recipe",
    "\x00": "YAML",
    "phases: {a: {do: []}}": "phases.a: 'do: []' is unknown",
    "phases: {a: {do: null}}": "phases.a: 'do: None' is unknown",
    "phases: {a: {class_path: Fit}}": "phases.a: 'do: fit' has no key 'class_path'",
}


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_is_no_recipe_is_refused_in_one_line(text, tmp_path):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        read_recipe(["--config", str(tmp_path / "recipe.yaml")])
    assert UNREADABLE[text] in str(error.value) and "\n" not in str(error.value)


def test_a_printed_configuration_is_a_recipe(tmp_path, capsys):
    def printed(name: str) -> str:
        with pytest.raises(SystemExit) as stop:
            cli.main(["train", "--config", name, "--phases.pruning.threshold=0.3", "--print_config"])
        assert stop.value.code == 0
        return capsys.readouterr().out

    (tmp_path / "printed.yaml").write_text(text := printed("scenes"))
    assert yaml.safe_load(text)["phases"]["pruning"] == {"do": "prune", "threshold": 0.3}
    assert printed(str(tmp_path / "printed.yaml")) == text
