"""A bundle gives back the network that was saved; damaged and foreign folders are refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import hub_mixin
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from scaleprotoseg.errors import UserError
from scaleprotoseg.explanation.explanation import explain
from scaleprotoseg.formats import bundle
from scaleprotoseg.formats.bundle import load, save
from scaleprotoseg.model.heads.groups import GroupHead
from scaleprotoseg.model.network import Network
from scaleprotoseg.pretrained import SegmentationModel
from scaleprotoseg.training.projection import project
from tests.builders.images import LABELS, Toys
from tests.builders.networks import black_box, projected_network, small_network


@pytest.fixture
def saved(tmp_path) -> Path:
    save(projected_network(), tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("make", [black_box, lambda: black_box("linear"), small_network, projected_network])
def test_round_trip(make, tmp_path):
    network = make().eval()
    save(network, tmp_path / "model")
    again = load(tmp_path / "model")
    images = torch.rand(1, 3, 33, 41)
    for ours, theirs in zip(network(images), again(images), strict=True):
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)
    assert again.labels == network.labels and again.method == network.method
    assert again.sources == network.sources
    assert not again.training


def test_pruned_and_merged_networks_round_trip(tmp_path):
    network = small_network()
    project(network, Toys(2))
    head, kept = GroupHead.over(network.head, 2).pruned(0.3)
    network.replace_head(head, [network.sources[index] for index in kept.tolist()])
    save(network, tmp_path / "model")
    images = torch.rand(1, 3, 24, 24)
    assert torch.equal(load(tmp_path / "model")(images).logits, network(images).logits)


def test_files_of_a_bundle(saved):
    names = {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()}
    entries = json.loads((saved / "prototypes.json").read_text())
    images = {f"prototypes/{index:04d}.png" for index in range(len(entries))}
    assert names == {"config.json", "model.safetensors", "prototypes.json"} | images
    first = entries[0]
    assert first["class"] in LABELS.names and first["source"]["image"].startswith("toy-")
    assert Image.open(saved / first["source"]["picture"]).size[0] > 0


def test_a_bundle_explains_without_its_training_data(saved):
    why = explain(load(saved), Toys(1)[0].image).at(1, 1)
    assert why.groups[0].members[0].source.png.startswith(b"\x89PNG")


def test_saving_again_replaces_the_whole_folder(saved):
    (saved / "stale.txt").write_text("old")
    save(black_box(), saved)
    assert not (saved / "stale.txt").exists() and not (saved / "prototypes").exists()
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_failed_save_leaves_the_old_bundle(saved, monkeypatch):
    before = (saved / "config.json").read_text()
    monkeypatch.setattr(bundle, "save_file", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(UserError, match="No space left"):
        save(projected_network(), saved)
    assert (saved / "config.json").read_text() == before
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_full_disk_is_one_line(saved, monkeypatch):
    before = (saved / "config.json").read_text()
    full = SafetensorError("I/O error: No space left on device (os error 28)")
    monkeypatch.setattr(bundle, "save_file", lambda *_, **__: (_ for _ in ()).throw(full))
    with pytest.raises(UserError, match=r"cannot be written .*No space left"):
        save(projected_network(), saved)
    assert (saved / "config.json").read_text() == before
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def damage(folder: Path, how: str) -> None:
    config = folder / "config.json"
    values = json.loads(config.read_text())
    if how == "no config":
        config.unlink()
    elif how == "not json":
        config.write_text("{")
    elif how == "foreign":
        config.write_text('{"model_type": "bert"}')
    elif how == "list":
        config.write_text("[]")
    elif how == "future":
        config.write_text(json.dumps(values | {"format": 99}))
    elif how == "no weights":
        (folder / "model.safetensors").unlink()
    elif how == "cut weights":
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:1000])
    elif how == "other widths":
        values["network"]["pyramid"]["channels"] = 16
        config.write_text(json.dumps(values))
    elif how == "unknown part":
        values["network"]["pyramid"]["shape"] = 16
        config.write_text(json.dumps(values))
    elif how == "fewer sources":
        entries = json.loads((folder / "prototypes.json").read_text())
        (folder / "prototypes.json").write_text(json.dumps(entries[1:]))
    elif how == "malformed source":
        entries = json.loads((folder / "prototypes.json").read_text())
        del entries[0]["source"]["box"]
        (folder / "prototypes.json").write_text(json.dumps(entries))
    elif how == "entry without a source":
        (folder / "prototypes.json").write_text(
            json.dumps([7] * len(json.loads((folder / "prototypes.json").read_text())))
        )
    elif how == "a list for a part":
        values["network"]["pyramid"] = [1, 2]
        config.write_text(json.dumps(values))
    elif how in ("unknown scale", "unordered scales"):
        state = load_file(folder / "model.safetensors")
        scales = state["head.prototypes.prototype_scale"]
        state["head.prototypes.prototype_scale"] = scales + 1 if how == "unknown scale" else scales.flip(0)
        save_file(state, folder / "model.safetensors")
    elif how == "no picture":
        (folder / "prototypes" / "0000.png").unlink()


@pytest.mark.parametrize(
    "how",
    ["no config", "not json", "foreign", "list", "future", "no weights", "cut weights", "other widths",
     "unknown part", "fewer sources", "malformed source", "no picture", "entry without a source",
     "a list for a part", "unknown scale", "unordered scales"],
)  # fmt: skip
def test_damaged_bundles_are_refused_in_one_line(saved, how):
    damage(saved, how)
    with pytest.raises(UserError) as error:
        load(saved)
    message = str(error.value)
    assert "\n" not in message and ";" in message
    assert "model" in message


def test_what_is_neither_folder_nor_hub_id_is_refused():
    with pytest.raises(UserError, match="no such folder, and not a Hub id"):
        load("/no/such/folder")


def test_hub_ids_are_downloaded(saved, monkeypatch):
    asked = {}

    def snapshot(name, **arguments):
        asked.update(name=name, **arguments)
        return str(saved)

    monkeypatch.setattr(bundle, "snapshot_download", snapshot)
    assert isinstance(load("someone/streets", revision="v1"), Network)
    assert asked == {"name": "someone/streets", "revision": "v1"}


def test_push_uploads_a_bundle(saved, monkeypatch):
    uploaded = {}

    class Api:
        def __init__(self, token):
            uploaded["token"] = token

        def create_repo(self, repo_id, private, exist_ok):
            uploaded["private"] = private
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, repo_id, folder_path, **_):
            uploaded["files"] = sorted(path.name for path in Path(folder_path).iterdir())
            return f"hub/{repo_id}"

    monkeypatch.setattr(hub_mixin, "HfApi", Api)
    model = load(saved, SegmentationModel)
    assert model.push_to_hub("someone/streets", private=True, token="t") == "hub/someone/streets"
    assert uploaded == {
        "token": "t",
        "private": True,
        "files": ["README.md", "config.json", "model.safetensors", "prototypes", "prototypes.json"],
    }
