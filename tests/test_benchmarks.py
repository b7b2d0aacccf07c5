"""The comparison says what its stored scores say."""

import json
import re
from pathlib import Path

import pytest
import yaml

from scaleprotoseg import cli

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"


@pytest.fixture
def compare(monkeypatch):
    monkeypatch.syspath_prepend(RESULTS.parent)
    import compare

    return compare


@pytest.fixture
def ablate(compare):
    import ablate

    return ablate


def test_the_pages_show_what_the_stored_scores_give(compare, ablate):
    written = [
        (compare.PAGE, compare.MARKS, compare.tables()),
        (compare.FRONT, compare.MARKS, compare.summary()),
        (compare.PAGE, ablate.MARKS, ablate.tables()),
    ]
    for page, (first, last), lines in written:
        shown = page.read_text(encoding="utf-8").partition(first)[2].partition(last)[0]
        assert lines and shown.strip() == "\n".join(lines).strip()


@pytest.mark.parametrize("path", sorted(RESULTS.parent.glob("recipes/*/*.yaml")), ids=lambda path: path.parent.name)
def test_the_recipes_of_the_comparison_can_be_read(path):
    recipe = cli._recipe(["--config", str(path)])
    assert (recipe.data.name, recipe.method) == (path.parent.name, path.stem)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("**/*-seed*.json")), ids=lambda path: path.stem)
def test_stored_scores_are_of_what_their_name_says(compare, ablate, path):
    name, _, seed = path.stem.rpartition("-seed")
    data = path.parent.name
    scores = json.loads(path.read_text(encoding="utf-8"))
    assert (scores["data"], scores["seed"]) == (data, int(seed))
    assert scores["split"] == compare.DATA[data].split
    ablation = path.parent.parent.name == "ablation"
    method, options = (ablate.BASE[data], ablate.ROWS[name]) if ablation else (name, ablate.OPTIONS)
    values = yaml.safe_load(compare.recipe(data, method).read_text(encoding="utf-8"))
    assert scores["method"] == method
    assert list(scores["phases"]) == list(ablate.only(values, options)["phases"])


def test_a_table_has_mean_and_spread_of_what_was_measured(compare):
    columns = {"a": (".1f", lambda scores: scores["a"]), "b": (".2f", lambda scores: scores.get("b"))}
    rows = {"two": [{"a": 1.0, "b": 0.5}, {"a": 3.0}], "none": [], "one": [{"a": 4.0}]}
    assert compare.table("Data", "method", rows, columns) == [
        *("### Data", "", "| method | seeds | a | b |", "|---|---|---|---|"),
        *("| two | 2 | 2.0 ± 1.4 | 0.50 |", "| one | 1 | 4.0 | – |", ""),
    ]


def test_the_longer_black_box_has_the_encoder_steps_of_ours(compare):
    for data, steps in {"scenes": 950 + 400, "camvid": 1000 + 400, "isbi_em": 600 + 300, "voc2012": 1000 + 400}.items():
        name = str(compare.recipe(data, compare.LONGER))
        assert name == str(compare.recipe(data, compare.BLACK_BOX))
        longer = cli._recipe(["--config", name, *compare.changes(data, compare.LONGER)])
        assert (longer.method, [phase.steps for phase in longer.phases.values()]) == (compare.LONGER, [steps])
    assert compare.changes("scenes", compare.OURS[0]) == ()


@pytest.mark.parametrize("told", ["FOLDER", "camvd=FOLDER", "camvid="])
def test_a_place_is_that_of_a_known_data_set(compare, monkeypatch, capsys, told):
    monkeypatch.setattr("sys.argv", ["compare.py", "run", "--root", told])
    with pytest.raises(SystemExit):
        compare.main()
    assert f"{told!r} is not DATA=PATH with one of scenes, camvid" in capsys.readouterr().err


def test_the_loss_of_accuracy_is_that_since_joint_training(compare):
    scores = {"phases": {"joint": 0.7, "projection": 0.5, "groups": 0.6, "frame": 0.69}}
    assert compare.lost(scores, ("projection",)) == pytest.approx(20)
    assert compare.lost(scores, tuple(scores["phases"])) == pytest.approx(1)
    assert compare.lost({"phases": {"black-box": 0.5}}, ("black-box",)) is None


def test_tables_are_put_between_their_marks_only(compare, tmp_path):
    page = tmp_path / "results.md"
    page.write_text("before\n<a>\nold\n</a>\nafter\n")
    for _ in range(2):
        compare.put_between(page, ("<a>", "</a>"), ["### New", ""])
        assert page.read_text() == "before\n<a>\n\n### New\n</a>\nafter\n"
    with pytest.raises(SystemExit, match="has no place for the tables"):
        compare.put_between(page, ("<b>", "</b>"), [])


@pytest.mark.parametrize("data", ["scenes", "camvid"])
def test_an_ablation_is_a_recipe_without_some_of_its_options(ablate, data, tmp_path):
    values = yaml.safe_load(ablate.recipe(data, ablate.BASE[data]).read_text(encoding="utf-8"))
    assert ablate.only(values, ablate.ROWS["all"]) == values
    for options in ablate.ROWS.values():
        told = yaml.safe_dump(ablate.only(values, options), sort_keys=False)
        assert ("tied: true" in told) == ("tied" in options)
        assert ("distillation:" in told) == ("distillation" in options)
        assert ("noise:" in told) == ("twin" in options) == ("diversity:" not in told)
        assert ("redundancy:" in told) == ("twin" in options and "pointing" not in told)
        assert (re.search("do: frame", told) is not None) == ("frame" in options)
        assert ("prune-by-parts" in told) == ("pointing" in told) == ("parts" in options and data == "scenes")
        (tmp_path / "recipe.yaml").write_text(told, encoding="utf-8")
        assert cli._recipe(["--config", str(tmp_path / "recipe.yaml")]).data.name == data
