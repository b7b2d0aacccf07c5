"""Bundles: what is written comes back; what is damaged or foreign is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import scaleprotoseg as sps
from scaleprotoseg.errors import UserError
from scaleprotoseg.model import bundle
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.network import Network
from scaleprotoseg.training.projection import project
from tests.model.test_decomposition import grouped_network
from tests.model.test_search import small_network
from tests.toys import LABELS, Toys


def black_box(kind: str = "direct", encoder: str = "resnet10t") -> Network:
    torch.manual_seed(1)
    return Network(
        NetworkConfig(EncoderConfig(encoder, stage=2), PyramidConfig((1, 2)), HeadConfig(kind)), LABELS, "box"
    )


@pytest.fixture
def saved(tmp_path) -> Path:
    grouped_network().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("make", [black_box, lambda: black_box("linear"), small_network, grouped_network])
def test_round_trip(make, tmp_path):
    network = make().eval()
    network.save_pretrained(tmp_path / "model")
    again = sps.load(tmp_path / "model")
    images = torch.rand(1, 3, 33, 41)
    for ours, theirs in zip(network(images), again(images), strict=True):
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)
    assert again.labels == network.labels and again.method == network.method
    assert again.sources == network.sources
    assert not again.training


def test_pruned_and_merged_networks_round_trip(tmp_path):
    network = small_network()
    project(network, Toys(2))
    from scaleprotoseg.model.groups import GroupHead

    head, kept = GroupHead.over(network.head, 2).pruned(0.3)
    network.replace_head(head, [network.sources[index] for index in kept.tolist()])
    network.save_pretrained(tmp_path / "model")
    images = torch.rand(1, 3, 24, 24)
    assert torch.equal(sps.load(tmp_path / "model")(images).logits, network(images).logits)


def test_files_of_a_bundle(saved):
    names = {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()}
    entries = json.loads((saved / "prototypes.json").read_text())
    pictures = {f"prototypes/{index:04d}.png" for index in range(len(entries))}
    assert names == {"config.json", "model.safetensors", "prototypes.json"} | pictures
    first = entries[0]
    assert first["class"] in LABELS.names and first["source"]["image"].startswith("toy-")
    assert Image.open(saved / first["source"]["picture"]).size[0] > 0


def test_a_bundle_explains_without_its_training_data(saved):
    why = sps.load(saved).explain(Toys(1)[0].image).at(1, 1)
    assert why.groups[0].members[0].source.picture.startswith(b"\x89PNG")


def test_saving_again_replaces_the_whole_folder(saved):
    (saved / "stale.txt").write_text("old")
    black_box().save_pretrained(saved)
    assert not (saved / "stale.txt").exists() and not (saved / "prototypes").exists()
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_failed_save_leaves_the_old_bundle(saved, monkeypatch):
    before = (saved / "config.json").read_text()
    monkeypatch.setattr(bundle, "save_file", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(UserError, match="No space left"):
        grouped_network().save_pretrained(saved)
    assert (saved / "config.json").read_text() == before
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_full_disk_is_one_line(saved, monkeypatch):
    before = (saved / "config.json").read_text()
    full = SafetensorError("I/O error: No space left on device (os error 28)")
    monkeypatch.setattr(bundle, "save_file", lambda *_, **__: (_ for _ in ()).throw(full))
    with pytest.raises(UserError, match=r"cannot be written .*No space left"):
        grouped_network().save_pretrained(saved)
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
        sps.load(saved)
    message = str(error.value)
    assert "\n" not in message and ";" in message
    assert "model" in message


def test_what_is_neither_folder_nor_hub_id_is_refused():
    with pytest.raises(UserError, match="no such folder, and not a Hub id"):
        sps.load("/no/such/folder")


def test_hub_ids_are_downloaded(saved, monkeypatch):
    asked = {}

    def snapshot(name, **arguments):
        asked.update(name=name, **arguments)
        return str(saved)

    monkeypatch.setattr(bundle, "snapshot_download", snapshot)
    assert isinstance(Network.from_pretrained("someone/streets", revision="v1"), Network)
    assert asked == {"name": "someone/streets", "revision": "v1"}


def test_push_uploads_a_bundle(monkeypatch):
    uploaded = {}

    class Api:
        def __init__(self, token):
            uploaded["token"] = token

        def create_repo(self, repo_id, private, exist_ok):
            uploaded["private"] = private

        def upload_folder(self, repo_id, folder_path):
            uploaded["files"] = sorted(path.name for path in Path(folder_path).iterdir())
            return type("Commit", (), {"commit_url": f"hub/{repo_id}"})

    monkeypatch.setattr(bundle, "HfApi", Api)
    assert grouped_network().push_to_hub("someone/streets", private=True, token="t") == "hub/someone/streets"
    assert uploaded == {
        "token": "t",
        "private": True,
        "files": ["config.json", "model.safetensors", "prototypes", "prototypes.json"],
    }


def test_warm_start_takes_the_encoder(tmp_path):
    box = black_box()
    box.save_pretrained(tmp_path / "box")
    network = small_network()
    bundle.load_encoder(network, tmp_path / "box")
    for ours, theirs in zip(network.encoder.state_dict().values(), box.encoder.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_warm_start_from_another_encoder_is_refused(tmp_path):
    black_box(encoder="resnet14t").save_pretrained(tmp_path / "box")
    with pytest.raises(UserError, match="its encoder is resnet14t"):
        bundle.load_encoder(small_network(), tmp_path / "box")
