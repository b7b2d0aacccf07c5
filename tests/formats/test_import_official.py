"""The command ``import-official`` turns published checkpoints into bundles; pages name what is unknown."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import scaleprotoseg as sps
from scaleprotoseg.data.dataset import Sample, SegmentationDataset
from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.explanation.explanation import explain
from scaleprotoseg.explanation.page import write_explanation
from scaleprotoseg.explanation.report import write_report
from scaleprotoseg.inference.nearest_patches import nearest_patches
from scaleprotoseg.model.heads.groups import GroupHead
from scaleprotoseg.model.network import Network
from tests.builders.bombs import archive, bombs
from tests.builders.command_line import run
from tests.builders.images import LABELS, toy_sample, write_folder
from tests.builders.published import GroupModel, ResNet, lively, write

WITHIN = 1e-4


@pytest.fixture(scope="module")
def published(golden, real_data, tmp_path_factory) -> dict[str, Network]:
    """Both stored checkpoints, imported with the real command line."""
    home = tmp_path_factory.mktemp("published")
    for name in ("stage1", "stage2_group"):
        assert run("import-official", real_data / "golden" / f"{name}.pth", "--out", home / name) == 0
    return {name: sps.load(home / name) for name in ("stage1", "stage2_group")}


def stored_images(golden) -> torch.Tensor:
    return golden["images"][:2].permute(0, 3, 1, 2) / 255


@torch.no_grad()
def test_a_stage_1_checkpoint_computes_the_published_numbers(golden, published):
    network = published["stage1"]
    golden.check(network.pyramid_map(stored_images(golden)), "stage1.pyramid", WITHIN)
    output = network(stored_images(golden))
    golden.check(output.distances, "stage1.distances", WITHIN)
    golden.check(output.logits, "stage1.logits", WITHIN)
    assert network.method == "scaleprotoseg" and network.sources == [None] * 60
    assert network.config.encoder.blocks == (1, 1, 1, 1) and network.config.input.size is None


@torch.no_grad()
def test_a_grouped_checkpoint_computes_the_published_numbers(golden, published):
    network = published["stage2_group"]
    assert isinstance(network.head, GroupHead)
    golden.check(network.head.weights, "stage2.A", WITHIN)
    golden.check(network.head.classifier, "stage2.V", WITHIN)
    output = network(stored_images(golden))
    golden.check(output.distances, "stage1.distances", WITHIN)
    golden.check(output.groups, "stage2.groups", WITHIN)
    golden.check(output.logits, "stage2.logits", WITHIN)


@torch.no_grad()
def test_several_input_sizes_compute_the_published_numbers(golden, published):
    base = published["stage1"]
    config = replace(base.config, input=replace(base.config.input, scales=(0.5, 0.75)))
    network = Network(config, base.labels).eval()
    network.load_state_dict(base.state_dict())
    output = network(stored_images(golden))
    golden.check(output.distances, "multi_input.distances", WITHIN)
    golden.check(output.logits, "multi_input.logits", WITHIN)


class StoredImages(SegmentationDataset):
    """The six stored images; 0 is void in their labels."""

    def __init__(self, golden) -> None:
        self.name, self.split = "stored", "train"
        self.labels = LabelTable.from_json({"classes": list("abcde")})
        self.images, self.masks = golden["images"].numpy(), golden["labels"].numpy() - np.uint8(1)

    @property
    def sample_names(self) -> list[str]:
        return [f"{index}" for index in range(len(self.images))]

    def __getitem__(self, index: int) -> Sample:
        return Sample(str(index), Image.fromarray(self.images[index]), self.masks[index])


def test_projection_finds_the_published_patches(golden, published):
    nearest = nearest_patches(published["stage1"], StoredImages(golden), k=2)
    distance = golden["projection.distance"].float()
    torch.testing.assert_close(nearest.distance[:, 0], distance, atol=1e-4, rtol=1e-4)
    same = (nearest.image[:, 0] == golden["projection.image"]) & (nearest.cell[:, 0] == golden["projection.cell"])
    tied = nearest.distance[:, 1] - nearest.distance[:, 0] < 1e-4
    print(f"same patch: {int(same.sum())} of 60, ties: {int(tied.sum())}")
    assert (same | tied).all() and same.sum() >= 58


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A grouped checkpoint of three classes, one of them without prototypes, and a folder with images of them."""
    home = tmp_path_factory.mktemp("home")
    torch.manual_seed(6)
    base = ResNet((1, 1, 1, 1), 8, True)
    write(lively(GroupModel(base, [[2, 0, 1], [1, 0, 1], [0, 0, 2], [1, 0, 1]], 8, [], True)), home / "group.pth")
    write_folder(home / "data", 6)
    (home / "classes.yaml").write_text(yaml.safe_dump(LABELS.to_json()))
    return home


@pytest.fixture(scope="module")
def sourced(home) -> Network:
    assert run("import-official", home / "group.pth", "--data", home / "data", "--out", home / "sourced") == 0
    return sps.load(home / "sourced")


def test_classes_may_be_named(home, tmp_path):
    arguments = ["import-official", home / "group.pth", "--out", tmp_path / "named"]
    assert run(*arguments, "--classes", home / "classes.yaml") == 0
    assert sps.load(tmp_path / "named").labels == LABELS


def test_sources_are_the_nearest_training_patches_and_vectors_stay(home, sourced, tmp_path):
    assert run("import-official", home / "group.pth", "--out", tmp_path / "bare") == 0
    bare = sps.load(tmp_path / "bare")
    assert bare.sources == [None] * 9 and bare.labels.names == ("class 0", "class 1", "class 2")
    assert all(torch.equal(tensor, sourced.state_dict()[name]) for name, tensor in bare.state_dict().items())
    assert sourced.labels == LABELS
    dataset = open_dataset(str(home / "data"), "train")
    patches = []
    for sample in (dataset[position] for position in range(len(dataset))):
        image = torch.from_numpy(np.array(sample.image)).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            distances = sourced(image).distances[0]
        rows, columns = distances.shape[1:]
        for row, column in np.ndindex(rows, columns):
            y, x = int((row + 0.5) * image.shape[2] / rows), int((column + 0.5) * image.shape[3] / columns)
            patches.append((sample.name, (row, column), sample.mask[y, x], distances[:, row, column].tolist()))
    for index, (source, owner) in enumerate(zip(sourced.sources, sourced.prototypes.prototype_class, strict=True)):
        found = sorted((distances[index], name, cell) for name, cell, label, distances in patches if label == owner)
        assert (source.image, source.cell) == found[0][1:] or found[1][0] - found[0][0] < 1e-5
        assert source.distance == pytest.approx(found[0][0], rel=1e-4, abs=1e-5) and source.distance > 0
        assert source.png.startswith(b"\x89PNG")


def test_pages_say_that_sources_are_unknown(home, sourced, tmp_path):
    assert run("import-official", home / "group.pth", "--out", tmp_path / "bare") == 0
    known = explain(sourced, toy_sample(0).image)
    for network, unknown in ((sps.load(tmp_path / "bare"), True), (sourced, False)):
        write_explanation(explain(network, toy_sample(0).image), tmp_path / "why.html", "an image")
        write_report(network, tmp_path / "report.html", None, [toy_sample(1)])
        for name in ("why.html", "report.html"):
            text = (tmp_path / name).read_text()
            assert ("Sources unknown:</strong> this model was imported without training data" in text) is unknown
            assert ('<symbol id="patch-' in text) is not unknown
        report = (tmp_path / "report.html").read_text()
        assert bool(re.search(r"#\d: source unknown", report)) is unknown
        assert ("patches of its training images" in report) is not unknown
    # The class without prototypes has groups that weigh nothing.
    assert not known.weights[3:6].any() and not known.classifier[:, 3:6].any()


def mistakes(home: Path) -> dict[str, tuple[list[str], str]]:
    file, data = str(home / "group.pth"), str(home / "data")
    (home / "two.yaml").write_text("classes: [sky, sea]\n")
    (home / "unlabeled" / "images").mkdir(parents=True, exist_ok=True)
    (home / "damaged.pth").write_bytes((home / "group.pth").read_bytes()[:100_000])
    return {
        "no file": (["/no/such.pth"], "/no/such.pth: no such file; check the path"),
        "a folder": ([data], f"{data}: no such file"),
        "damaged": ([str(home / "damaged.pth")], "damaged.pth: damaged, or no checkpoint"),
        "other classes": (
            [file, "--classes", str(home / "two.yaml")],
            "has 3 classes but 2 are named, from sky to sea",
        ),
        "other data": ([file, "--data", "scenes", "--root", str(home / "scenes")], "has 3 classes but"),
        "unknown classes": ([file, "--classes", "cityscape"], "cityscape: neither a file nor one of ade20k, camvid"),
        "no label table": ([file, "--classes", file], "group.pth: cannot be read as YAML"),
        "classes twice": ([file, "--classes", "camvid", "--data", data], "--classes camvid: --data"),
        "no data": ([file, "--data", "camvit"], "did you mean 'camvid'?"),
        "no split": ([file, "--data", data, "--split", "dev"], "has no split 'dev'"),
    }


@pytest.mark.parametrize(
    "name",
    ["no file", "a folder", "damaged", "other classes", "other data", "unknown classes", "no label table",
     "classes twice", "no data", "no split"],
)  # fmt: skip
def test_a_mistake_ends_in_one_line_and_leaves_nothing(home, name, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("scaleprotoseg.data.scenes.reader.SIZES", {"train": 1, "val": 1, "test": 1})
    arguments, said = mistakes(home)[name]
    assert run("import-official", *arguments, "--out", tmp_path / "out") == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1 and said in printed
    assert not (tmp_path / "out").exists()


def test_images_without_masks_are_no_sources(home, tmp_path, capsys):
    data = write_folder(tmp_path / "data", 4)
    (data / "splits" / "test.txt").write_text("toy-0\n")
    (data / "splits" / "train.txt").write_text("toy-1\n")
    (data / "masks" / "toy-0.png").unlink()
    arguments = ["--data", data, "--split", "test", "--out", tmp_path / "out"]
    assert run("import-official", home / "group.pth", *arguments) == 1
    assert "toy-0 has no mask; choose a split with a mask for every image" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(home, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert run("import-official", home / "group.pth", "--out", tmp_path) == 1
    assert "is not empty; choose another --out" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_bomb_ends_in_one_line(tmp_path, capsys):
    (tmp_path / "bomb.pth").write_bytes(archive(bombs(tmp_path / "marker")["system, protocol 2"]))
    assert run("import-official", tmp_path / "bomb.pth", "--out", tmp_path / "out") == 1
    printed = capsys.readouterr().err
    assert "bomb.pth: wants to call posix.system" in printed and printed.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bomb.pth"]


def test_an_imported_model_is_a_bundle_like_any_other(home, sourced, tmp_path):
    entries = json.loads((home / "sourced" / "prototypes.json").read_text())
    assert len(entries) == 9 and all(entry["source"]["image"].startswith("toy-") for entry in entries)
    arguments = ["--data", home / "data", "--split", "val", "--out", tmp_path / "m.json"]
    assert run("evaluate", home / "sourced", *arguments) == 0
    assert json.loads((tmp_path / "m.json").read_text())["num_images"] == 2
    assert run("explain", home / "sourced", home / "data" / "images" / "toy-1.png", "--out", tmp_path / "why.html") == 0
