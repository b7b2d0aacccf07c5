"""The sanity check runs every phase and leaves nothing behind."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace

import pytest
import yaml

from scaleprotoseg import sanity
from scaleprotoseg.errors import UserError
from scaleprotoseg.sanity import sanity_check
from tests.evaluation.toys import PartToys
from tests.test_cli import run
from tests.toys import Toys, recipe_values, write_folder
from tests.training.test_curriculum import make_recipe


@pytest.fixture
def values(tmp_path) -> dict:
    values = recipe_values()
    values["data"]["name"] = str(write_folder(tmp_path / "data"))
    values["phases"] |= {"joint": values["phases"]["joint"] | {"steps": 30_000}}
    return values


def test_every_phase_runs_and_is_estimated(values, tmp_path, monkeypatch, capsys):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scaleprotoseg.sanity.console.width", 120)
    values["network"]["encoder"]["pretrained"] = True  # nothing is fetched
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    before = sorted(path.name for path in tmp_path.iterdir())
    assert run("train", "--config", tmp_path / "recipe.yaml", "--warm_start", "nowhere", "--sanity-check") == 0
    printed = capsys.readouterr().out
    for name, phase in values["phases"].items():
        steps = f"{phase['steps']:,}" if "steps" in phase else ""
        assert re.search(rf"{name} +│ +{steps}", printed), name
    assert "measuring 2 pictures after each" in printed
    assert re.search(r"time: at least [\d.]+ (h|min|s) on one device .*, for 6 training pictures", printed)
    assert re.search(r"memory: at least [\d.]+ GiB", printed) and re.search(r"disk: at least [\d,]+ MiB", printed)
    assert not list((tmp_path / "tmp").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_recipe_that_starts_from_a_model(values, capsys):
    joint = values["phases"]["joint"] | {"learning_rates": {"pyramid": 0.001, "prototypes": 0.01}}
    sanity_check(make_recipe(**values | {"phases": values["phases"] | {"joint": joint}, "warm_start": "nowhere"}))
    assert "time: at least" in capsys.readouterr().out


def test_neighbours_are_found_in_the_few_pictures_there_are(values, capsys):
    pruning = {"neighbours": {"do": "prune-by-neighbours", "neighbours": 6, "agreeing": 3}}
    phases = {name: values["phases"][name] for name in ("joint", "projection")} | pruning
    sanity_check(make_recipe(**values | {"phases": phases}))
    assert "neighbours" in capsys.readouterr().out


def test_phases_that_need_parts_and_a_teacher(monkeypatch, capsys):
    class Late(PartToys):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return sample if index > 2 else replace(sample, parts=None)

    monkeypatch.setattr(sanity, "open_dataset", lambda *_: Late())
    learnt = {"steps": 3, "learning_rates": {"classifier": 0.1}, "distillation": 1.0}
    phases = {name: recipe_values()["phases"][name] for name in ("joint", "projection")}
    phases["joint"] |= {"pointing": 1.0}
    phases |= {
        "choice": {"do": "prune-by-parts"},
        "a": learnt,
        "b": learnt | {"teacher": "joint"},
        "f": {"do": "frame"},
    }
    sanity_check(make_recipe(phases=phases, warm_start="nowhere"))
    assert "choice" in capsys.readouterr().out
    monkeypatch.setattr(sanity, "open_dataset", lambda *_: Toys())
    with pytest.raises(UserError, match=r"part, for pointing in phases\.joint and prune-by-parts in phases\.choice"):
        sanity_check(make_recipe(phases=phases, warm_start="nowhere"))


def test_the_estimate_is_steps_times_the_time_of_one(values, monkeypatch, capsys):
    clock = iter(range(10_000))
    monkeypatch.setattr(sanity.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr("scaleprotoseg.sanity.console.width", 120)
    recipe = make_recipe(**values | {"data": values["data"] | {"accumulate": 3}})
    sanity_check(recipe)
    printed = capsys.readouterr().out
    # Every look at the clock is one second later: a batch takes 1 s, a step of three batches 3 s.
    assert re.search(r"joint +│ +30,000 │ +3.00 │ +[\d.]+ │ +25.0 h", printed)
    assert re.search(r"groups +│ +20 │ +3.00 │ +[\d.]+ │ +1.0 min", printed)


def test_a_frame_takes_as_long_as_it_looks_at_classes_in_pictures(monkeypatch, capsys):
    monkeypatch.setattr("scaleprotoseg.sanity.console.width", 120)
    recipe = make_recipe(phases={**recipe_values()["phases"], "f": {"do": "frame"}})
    costs = {name: sanity.PhaseCost(seconds=6.0) for name in recipe.phases}
    data = PartToys()
    sanity._print(recipe, data, costs, 2, 2, 0.0, 0)
    # Seen: a class in two pictures in 6 s. In the whole training each class is looked at in four.
    assert re.search(rf"f +│ +│ +│ +│ +{4 * len(data.labels) * 3:.1f} s", capsys.readouterr().out)


@pytest.mark.parametrize(("gib", "disk"), [(8.0, 1 + 50 * 3), (0.1, 1 + 102)])
def test_what_stands_still_is_kept_of_all_pictures_as_far_as_the_disk_allows(gib, disk, monkeypatch, capsys):
    monkeypatch.setattr("scaleprotoseg.sanity.console.width", 120)
    recipe = make_recipe(store={"views": 4, "gib": gib})
    costs = {name: sanity.PhaseCost(seconds=6.0) for name in recipe.phases}
    costs["groups"] = sanity.PhaseCost(step=1.0, look=2.0, stored=50 * 2**20)
    sanity._print(recipe, Toys(6), costs, 2, 2, 0.0, 2**20)
    printed = capsys.readouterr().out
    assert f"disk: at least {disk} MiB" in printed
    assert re.search(rf"groups .*│ +{recipe.phases['groups'].steps * recipe.data.accumulate + 3 * 2.0:.1f} s", printed)


def test_a_store_is_seen(values, monkeypatch):
    counted = {}
    monkeypatch.setattr(sanity, "_print", lambda recipe, dataset, costs, *_: counted.update(costs))
    sanity_check(make_recipe(**values | {"store": {"views": 2}}))
    assert counted["groups"].stored > 0 and counted["groups"].look > 0
    assert counted["joint"].stored == 0


def test_a_search_reads_every_picture_once(monkeypatch, capsys):
    monkeypatch.setattr("scaleprotoseg.sanity.console.width", 120)
    recipe = make_recipe()
    costs = {name: sanity.PhaseCost(seconds=6.0) for name in recipe.phases}
    sanity._print(recipe, Toys(6), costs, 2, 2, 0.5, 0)
    assert re.search(rf"projection +│ +│ +│ +│ +{6 + 4 * 0.5:.1f} s", capsys.readouterr().out)


def test_operations_are_counted(values, monkeypatch):
    counted = {}
    monkeypatch.setattr(sanity, "_print", lambda recipe, dataset, costs, *_: counted.update(costs))
    sanity_check(make_recipe(**values))
    # Training everything costs about three times a forward pass, training groups little more than one.
    assert 2.0 < counted["joint"].flop / counted["groups"].flop < 3.5


def test_the_validation_split_will_do(values, tmp_path, capsys, caplog):
    (tmp_path / "data" / "splits" / "train.txt").unlink()
    sanity_check(make_recipe(**values))
    assert "going on with the split val" in caplog.text
    assert "for 2 training pictures" in capsys.readouterr().out.replace("\n", "")


def test_without_data_there_is_one_line(values, tmp_path, capsys):
    values["data"]["name"] = str(tmp_path / "nowhere")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    assert run("train", "--config", tmp_path / "recipe.yaml", "--sanity-check") == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1
