"""The recipes, stored scores and published tables of the comparison agree."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from scaleprotoseg.recipe_files import read_recipe

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
RESULTS = BENCHMARKS / "results"


@pytest.fixture(autouse=True)
def benchmarks_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


@pytest.fixture
def trainings():
    import trainings

    return trainings


@pytest.fixture
def score_tables():
    import score_tables

    return score_tables


@pytest.fixture
def compare():
    import compare

    return compare


@pytest.fixture
def ablate():
    import ablate

    return ablate


def test_pages_show_the_tables_of_the_stored_scores(compare, ablate):
    written = [
        (compare.PAGE, compare.MARKS, compare.tables()),
        (compare.FRONT_PAGE, compare.MARKS, compare.summary()),
        (ablate.PAGE, ablate.MARKS, ablate.tables()),
    ]
    for page, (first, last), lines in written:
        shown = page.read_text(encoding="utf-8").partition(first)[2].partition(last)[0]
        assert lines and shown.strip() == "\n".join(lines).strip()


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("recipes/*/*.yaml")), ids=lambda path: path.parent.name)
def test_recipes_of_the_comparison_are_valid(path):
    recipe = read_recipe(["--config", str(path)])
    assert (recipe.data.name, recipe.method) == (path.parent.name, path.stem)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("**/*-seed*.json")), ids=lambda path: path.stem)
def test_stored_scores_match_their_file_name(trainings, ablate, path):
    name, _, seed = path.stem.rpartition("-seed")
    data = path.parent.name
    scores = json.loads(path.read_text(encoding="utf-8"))
    assert (scores["data"], scores["seed"]) == (data, int(seed))
    assert scores["split"] == trainings.DATA[data].split
    is_ablation = path.parent.parent.name == "ablation"
    method, options = (ablate.BASE[data], ablate.ROWS[name]) if is_ablation else (name, ablate.OPTIONS)
    values = yaml.safe_load(trainings.recipe_path(data, method).read_text(encoding="utf-8"))
    assert scores["method"] == method
    assert list(scores["phases"]) == list(ablate.with_options(values, options)["phases"])


def test_table_has_mean_and_standard_deviation(score_tables):
    columns = {"a": (".1f", lambda scores: scores["a"]), "b": (".2f", lambda scores: scores.get("b"))}
    rows = {"two": [{"a": 1.0, "b": 0.5}, {"a": 3.0}], "none": [], "one": [{"a": 4.0}]}
    assert score_tables.table("Data", "method", rows, columns) == [
        *("### Data", "", "| method | seeds | a | b |", "|---|---|---|---|"),
        *("| two | 2 | 2.0 ± 1.4 | 0.50 |", "| one | 1 | 4.0 | – |", ""),
    ]


@pytest.mark.parametrize(
    ("data", "steps"),
    [("scenes", 950 + 400), ("camvid", 1000 + 400), ("isbi_em", 600 + 300), ("voc2012", 1000 + 400)],
)
def test_longer_black_box_has_the_encoder_steps_of_ours(trainings, data, steps):
    name = str(trainings.recipe_path(data, trainings.LONGER))
    assert name == str(trainings.recipe_path(data, trainings.BLACK_BOX))
    longer = read_recipe(["--config", name, *trainings.recipe_changes(data, trainings.LONGER)])
    assert (longer.method, [phase.steps for phase in longer.phases.values()]) == (trainings.LONGER, [steps])


def test_recipe_of_ours_is_not_changed(trainings):
    assert trainings.recipe_changes("scenes", trainings.OURS[0]) == ()


@pytest.mark.parametrize("argument", ["FOLDER", "camvd=FOLDER", "camvid="])
def test_path_without_a_known_data_set_is_refused(compare, monkeypatch, capsys, argument):
    monkeypatch.setattr("sys.argv", ["compare.py", "run", "--root", argument])
    with pytest.raises(SystemExit):
        compare.main()
    assert f"{argument!r} is not DATA=PATH; DATA is one of scenes, camvid" in capsys.readouterr().err


def test_lost_points_are_counted_from_joint_training(score_tables):
    scores = {"phases": {"joint": 0.7, "projection": 0.5, "groups": 0.6, "frame": 0.69}}
    assert score_tables.lost_points(scores, ("projection",)) == pytest.approx(20)
    assert score_tables.lost_points(scores, tuple(scores["phases"])) == pytest.approx(1)
    assert score_tables.lost_points({"phases": {"black-box": 0.5}}, ("black-box",)) is None


def test_only_the_lines_between_the_marks_are_replaced(score_tables, tmp_path):
    page = tmp_path / "results.md"
    page.write_text("before\n<a>\nold\n</a>\nafter\n")
    for _ in range(2):
        score_tables.replace_between(page, ("<a>", "</a>"), ["### New", ""])
        assert page.read_text() == "before\n<a>\n\n### New\n</a>\nafter\n"
    with pytest.raises(SystemExit, match="has no marks around the tables; add the lines <b> and </b>"):
        score_tables.replace_between(page, ("<b>", "</b>"), [])


@pytest.mark.parametrize("data", ["scenes", "camvid"])
def test_ablation_is_a_recipe_with_some_of_its_options(trainings, ablate, data, tmp_path):
    values = yaml.safe_load(trainings.recipe_path(data, ablate.BASE[data]).read_text(encoding="utf-8"))
    assert ablate.with_options(values, ablate.ROWS["all"]) == values
    for options in ablate.ROWS.values():
        text = yaml.safe_dump(ablate.with_options(values, options), sort_keys=False)
        assert ("tied: true" in text) == ("tied" in options)
        assert ("distillation:" in text) == ("distillation" in options)
        assert ("noise:" in text) == ("noise" in options) == ("diversity:" not in text)
        assert ("redundancy:" in text) == ("noise" in options and "pointing" not in text)
        assert (re.search("do: frame", text) is not None) == ("frame" in options)
        assert ("prune-by-parts" in text) == ("pointing" in text) == ("parts" in options and data == "scenes")
        (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
        assert read_recipe(["--config", str(tmp_path / "recipe.yaml")]).data.name == data
