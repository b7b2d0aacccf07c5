"""Published checkpoints are read with the same numbers; other files are refused in one line."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch

from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.errors import UserError
from scaleprotoseg.formats import official
from scaleprotoseg.formats.official import load_official
from scaleprotoseg.formats.torch_file.modules import SavedModules, read_modules
from scaleprotoseg.model.heads.groups import GroupHead
from scaleprotoseg.model.network import Network
from tests.builders.published import GroupModel, Model, ResNet, UNet, lively, write

UNEVEN = [[3, 1, 2], [1, 3, 1], [2, 2, 2], [3, 3, 1]]
WITHOUT_SECOND = [[2, 0, 1], [1, 0, 2], [2, 0, 2], [0, 0, 1]]
ONE_BLOCK = (1, 1, 1, 1)


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    deviation = float((ours - theirs).abs().max() / theirs.abs().max())
    print(f"largest deviation {deviation:.2e}")
    assert deviation < 1e-5


@torch.no_grad()
def imported(model: Model, path: Path, size: tuple[int, int] = (57, 73)) -> Network:
    """The model after writing and reading it, with the same distances and scores."""
    network = load_official(write(lively(model), path))
    images = torch.rand(2, 3, *size)
    normal = (images - network.mean) / network.std
    output = network(images)
    close(output.distances, model.distances(normal))
    close(output.logits, model(normal))
    assert network.sources == [None] * len(model.ones) and not network.training
    return network


def model(kind: type[Model], members: list[list[int]], scales: list[float] | None = None) -> Model:
    torch.manual_seed(3)
    apart = len(members) > 1
    return kind(ResNet(ONE_BLOCK, 16, apart), members, 16, scales or [], apart)


def test_uneven_counts_after_projection(tmp_path):
    network = imported(model(Model, UNEVEN), tmp_path / "pushed.pth")
    assert network.method == "scaleprotoseg" and network.pyramid.num_scales == 4
    counts = [
        [
            int(((network.prototypes.prototype_class == c) & (network.prototypes.prototype_scale == s)).sum())
            for c in range(3)
        ]
        for s in range(4)
    ]
    assert counts == UNEVEN
    assert network.labels.names == ("class 0", "class 1", "class 2")


def test_groups_with_a_class_that_has_no_prototypes(tmp_path):
    network = imported(model(GroupModel, WITHOUT_SECOND), tmp_path / "group.pth")
    head = network.head
    assert isinstance(head, GroupHead) and head.weights.shape[:2] == (3, 3)
    assert not head.weights[1].any() and not head.classifier[:, 3:6].any()


def test_protoseg_has_one_scale(tmp_path):
    network = imported(model(Model, [[4, 10, 7]]), tmp_path / "protoseg.pth")
    assert network.method == "protoseg" and network.config.pyramid.fuse == "sum"
    assert network.pyramid.num_scales == 1 and len(network.prototypes) == 21


def test_unet(tmp_path):
    torch.manual_seed(4)
    network = imported(Model(UNet(64, 16, True), UNEVEN[:4], 16, [], True), tmp_path / "em.pth", (37, 50))
    assert network.config.encoder.name == "unet" and network.encoder.stride == 1


def test_multi_input_and_the_old_file_format(tmp_path):
    theirs = model(Model, UNEVEN, [1.0, 0.5])
    network = load_official(write(lively(theirs), tmp_path / "old.pth", old=True))
    assert (tmp_path / "old.pth").read_bytes()[:2] != b"PK"
    assert network.config.input.scales == (0.5,)
    images = torch.rand(1, 3, 64, 80)
    with torch.no_grad():
        close(network(images).logits, theirs((images - network.mean) / network.std))


def test_the_usual_resnets_are_told_by_their_blocks(tmp_path):
    tensors = {
        f"{official.BASE}layer{stage + 2}.block{block + 1}.conv3x3.conv.weight": torch.empty(
            64 << stage, 64 << stage, 3, 3
        )
        for stage, count in enumerate((3, 4, 23, 3))
        for block in range(count)
    }
    tensors[f"{official.BASE}layer1.conv1.conv.weight"] = torch.empty(64, 3, 7, 7)
    config, channels, _ = official._encoder(SavedModules(tmp_path, tensors, {}))
    assert (config.name, config.blocks, channels) == ("caffe_resnet101", None, 2048)
    for block in range(7, 24):
        del tensors[f"{official.BASE}layer4.block{block}.conv3x3.conv.weight"]
    assert official._encoder(SavedModules(tmp_path, tensors, {}))[0].name == "caffe_resnet50"


def test_classes_must_be_as_many(tmp_path):
    write(model(Model, UNEVEN), tmp_path / "a.pth")
    table = LabelTable.from_json({"classes": ["sky", "sea", "sand"]})
    assert load_official(tmp_path / "a.pth", table).labels == table
    with pytest.raises(UserError, match="3 classes but 2 are named, from sky to sea"):
        load_official(tmp_path / "a.pth", LabelTable.from_json({"classes": ["sky", "sea"]}))


@pytest.fixture(scope="module")
def grouped(tmp_path_factory) -> SavedModules:
    path = write(model(GroupModel, UNEVEN), tmp_path_factory.mktemp("official") / "group.pth")
    return read_modules(path)


def change(saved: SavedModules, how: str) -> None:
    tensors, root = saved.tensors, saved.attributes[""]
    if how == "linear similarity":
        root["prototype_activation_function"] = "linear"
    elif how == "other epsilon":
        root["epsilon"] = 1e-3
    elif how == "scale head":
        saved.attributes["scale_head"] = {}
    elif how == "add-on layers":
        tensors["add_on_layers.0.weight"] = torch.ones(3)
    elif how == "vgg":
        del tensors["features.base.layer1.conv1.conv.weight"]
    elif how == "narrow unet":
        del tensors["features.base.layer1.conv1.conv.weight"]
        tensors["features.base.inc.double_conv.0.weight"] = torch.ones(16, 3, 3, 3)
    elif how == "no blocks":
        del tensors["features.base.layer3.block1.conv3x3.conv.weight"]
    elif how == "basic blocks":
        tensors["features.base.layer3.block1.conv3x3.conv.weight"] = torch.ones(1)
    elif how == "missing bias":
        del tensors["features.base.layer2.block1.shortcut.bn.bias"]
    elif how == "gap":
        tensors["features.base.layer2.block3.reduce.conv.weight"] = torch.ones(64, 256, 1, 1)
    elif how == "wide stem":
        tensors["features.base.layer1.conv1.conv.weight"] = torch.ones(64, 6, 7, 7)
    elif how == "other stride":
        saved.attributes["features.base.layer3.block1.reduce.conv"]["stride"] = (1, 1)
    elif how == "no pyramid":
        del tensors["features.base.aspp.c0.weight"]
    elif how == "pointwise branch":
        tensors["features.base.aspp.c2.weight"] = torch.ones(16, 2048, 1, 1)
    elif how == "unknown dilation":
        saved.attributes["features.base.aspp.c1"]["dilation"] = "wide"
    elif how == "endless dilation":
        saved.attributes["features.base.aspp.c1"]["dilation"] = (2**40, 2**40)
    elif how == "other padding":
        saved.attributes["features.base.aspp.c1"]["padding"] = (1, 1)
    elif how == "no prototypes":
        tensors["prototype_vectors"] = torch.ones(0, 16, 1, 1)
        tensors["prototype_class_identity"] = torch.ones(0, 3)
    elif how == "wide prototypes":
        tensors["prototype_vectors"] = torch.ones(23, 32, 1, 1)
    elif how == "flat identity":
        tensors["prototype_class_identity"] = torch.ones(24)
    elif how == "shared prototypes":
        tensors["prototype_class_identity"] = torch.full((24, 3), 0.5)
    elif how == "no identity":
        del tensors["prototype_class_identity"]
    elif how == "300 classes":
        tensors["prototype_class_identity"] = torch.eye(300)[:24]
    elif how == "scales overlap":
        root["scale_num_prototypes"][1] = (5, 11)
    elif how == "scales end early":
        root["scale_num_prototypes"][3] = (17, 20)
    elif how == "scales go on":
        root["scale_num_prototypes"][3] = (17, 2**60)
    elif how == "three scales":
        del root["scale_num_prototypes"][3]
    elif how == "scales as text":
        root["scale_num_prototypes"] = {0: "ab", 1: (), 2: (1.5, 2), 3: None}
    elif how == "input scales":
        saved.attributes["features"]["scales"] = [0.5, float("nan")]
    elif how == "no input scales":
        del saved.attributes["features"]["scales"]
    elif how == "no classifier":
        del tensors["last_layer_group.weight"]
    elif how == "fewer groups":
        tensors["last_layer_group.weight"] = torch.ones(3, 8)
        tensors["group_class_identity"] = tensors["group_class_identity"][:8]
    elif how == "groups of strangers":
        tensors["group_class_identity"] = tensors["group_class_identity"].roll(1, 0)
    elif how == "groups of a class beyond":
        tensors["group_class_identity"] = torch.eye(5)[[0, 0, 0, 1, 1, 1, 4, 4, 4]]
        tensors["group_projection.2.weight"] = torch.ones(3, 0)
    elif how == "members missing":
        tensors["group_projection.1.weight"] = torch.ones(3, 4)
    elif how == "no groups":
        for name in [name for name in tensors if name.startswith("group_projection")]:
            del tensors[name]
    elif how == "empty groups":
        for index in range(3):
            tensors[f"group_projection.{index}.weight"] = torch.ones(0, 3)


CHANGES = [
    *("linear similarity", "other epsilon", "scale head", "add-on layers", "vgg", "narrow unet", "no blocks"),
    *("basic blocks", "missing bias", "gap", "wide stem", "other stride", "no pyramid", "pointwise branch"),
    *("unknown dilation", "endless dilation", "other padding", "no prototypes", "wide prototypes", "flat identity"),
    *("shared prototypes", "no identity", "300 classes", "scales overlap", "scales end early", "scales go on"),
    *("three scales", "scales as text", "input scales", "no input scales", "no classifier", "fewer groups"),
    *("groups of strangers", "groups of a class beyond", "members missing", "no groups", "empty groups"),
]


@pytest.mark.parametrize("how", CHANGES)
def test_other_architectures_are_refused_in_one_line(grouped, how, monkeypatch):
    copy = SavedModules(grouped.path, dict(grouped.tensors), deepcopy(grouped.attributes))
    change(copy, how)
    monkeypatch.setattr(official, "read_modules", lambda _: copy)
    with pytest.raises(UserError) as error:
        load_official(grouped.path)
    message = str(error.value)
    assert message.startswith(str(grouped.path)) and "\n" not in message and "; " in message
