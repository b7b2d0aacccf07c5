"""The sanity check runs every phase and leaves nothing behind."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace

import pytest
import yaml

from scaleprotoseg import sanity
from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.errors import UserError
from scaleprotoseg.sanity import sanity_check
from scaleprotoseg.training.phases.run import Observation
from tests.builders.command_line import run
from tests.builders.images import PartToys, Toys, write_folder
from tests.builders.recipes import make_recipe, recipe_values


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
    values["network"]["encoder"]["pretrained"] = True  # nothing is downloaded
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    before = sorted(path.name for path in tmp_path.iterdir())
    assert run("train", "--config", tmp_path / "recipe.yaml", "--warm_start", "nowhere", "--sanity_check") == 0
    printed = capsys.readouterr().out
    for name, phase in values["phases"].items():
        steps = f"{phase['steps']:,}" if "steps" in phase else ""
        assert re.search(rf"{name} +│ +{steps}", printed), name
    assert "measuring 2 images after each" in printed
    assert re.search(r"time: at least [\d.]+ (h|min|s) on one device .*, for 6 training images", printed)
    assert re.search(r"memory: at least [\d.]+ GiB", printed) and re.search(r"disk: at least [\d,]+ MiB", printed)
    assert not list((tmp_path / "tmp").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_recipe_that_starts_from_a_model(values, capsys):
    joint = values["phases"]["joint"] | {"learning_rates": {"pyramid": 0.001, "prototypes": 0.01}}
    sanity_check(make_recipe(**values | {"phases": values["phases"] | {"joint": joint}, "warm_start": "nowhere"}))
    assert "time: at least" in capsys.readouterr().out


def test_neighbours_are_found_in_a_few_images(values, capsys):
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
    distilled = {"steps": 3, "learning_rates": {"classifier": 0.1}, "distillation": 1.0}
    phases = {name: recipe_values()["phases"][name] for name in ("joint", "projection")}
    phases["joint"] |= {"pointing": 1.0}
    phases |= {
        "choice": {"do": "prune-by-parts"},
        "a": distilled,
        "b": distilled | {"teacher": "joint"},
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
    # Every reading of the clock is one second later: a batch takes 1 s, a step of three batches takes 3 s.
    assert re.search(r"joint +│ +30,000 │ +3.00 │ +[\d.]+ │ +25.0 h", printed)
    assert re.search(r"groups +│ +20 │ +3.00 │ +[\d.]+ │ +1.0 min", printed)


def test_the_time_of_a_frame_grows_with_classes_and_images(monkeypatch, capsys):
    monkeypatch.setattr("scaleprotoseg.sanity.console.width", 120)
    recipe = make_recipe(phases={**recipe_values()["phases"], "f": {"do": "frame"}})
    dataset = PartToys()
    seen = Observation(seconds=6.0, images=6, images_seen=2, classes=len(dataset.labels), class_views=2)
    sanity._print(recipe, sanity._estimate(recipe, dataset, dict.fromkeys(recipe.phases, seen), disk=0))
    # A class in two images took 6 s. In the whole training, each class is examined in four images.
    assert re.search(rf"f +│ +│ +│ +│ +{4 * len(dataset.labels) * 3:.1f} s", capsys.readouterr().out)


@pytest.mark.parametrize(("gib", "disk"), [(8.0, 1 + 50 * 3), (0.1, 1 + 102)])
def test_features_of_all_images_are_cached_as_far_as_the_disk_space_allows(gib, disk, monkeypatch, capsys):
    monkeypatch.setattr("scaleprotoseg.sanity.console.width", 120)
    recipe = make_recipe(store={"views": 4, "gib": gib})
    seen = dict.fromkeys(recipe.phases, Observation(seconds=6.0, images=6, images_seen=2))
    seen["groups"] = Observation(
        batch_seconds=1.0, preparation_seconds=2.0, cached_bytes=50 * 2**20, images=6, images_seen=2
    )
    sanity._print(recipe, sanity._estimate(recipe, Toys(6), seen, disk=2**20))
    printed = capsys.readouterr().out
    assert f"disk: at least {disk} MiB" in printed
    assert re.search(rf"groups .*│ +{recipe.phases['groups'].steps * recipe.data.accumulate + 3 * 2.0:.1f} s", printed)


def observe(values: dict) -> dict[str, Observation]:
    """Measurements of the shortened phases."""
    recipe = make_recipe(**values)
    observations, disk = sanity._observe(recipe, open_dataset(recipe.data.name, "train"))
    assert disk > 0
    return observations


def test_the_feature_cache_is_measured(values):
    seen = observe(values | {"store": {"views": 2}})
    assert seen["groups"].cached_bytes > 0 and seen["groups"].preparation_seconds > 0
    assert seen["joint"].cached_bytes == 0
    assert (seen["joint"].images, seen["joint"].images_seen, seen["joint"].classes) == (6, 2, 3)


def test_a_search_reads_every_image_once(monkeypatch, capsys):
    monkeypatch.setattr("scaleprotoseg.sanity.console.width", 120)
    recipe = make_recipe()
    seen = Observation(seconds=6.0, image_seconds=0.5, images=6, images_seen=2)
    sanity._print(recipe, sanity._estimate(recipe, Toys(6), dict.fromkeys(recipe.phases, seen), disk=0))
    assert re.search(rf"projection +│ +│ +│ +│ +{6 + 4 * 0.5:.1f} s", capsys.readouterr().out)


def test_operations_are_counted(values):
    seen = observe(values)
    # Training everything costs about three times a forward pass, training groups little more than one.
    assert 2.0 < seen["joint"].flop / seen["groups"].flop < 3.5


def test_the_validation_split_will_do(values, tmp_path, capsys, caplog):
    (tmp_path / "data" / "splits" / "train.txt").unlink()
    sanity_check(make_recipe(**values))
    assert "continuing with the split val" in caplog.text
    assert "for 2 training images" in capsys.readouterr().out.replace("\n", "")


def test_without_data_there_is_one_line(values, tmp_path, capsys):
    values["data"]["name"] = str(tmp_path / "nowhere")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    assert run("train", "--config", tmp_path / "recipe.yaml", "--sanity_check") == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1
