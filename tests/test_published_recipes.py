"""The packaged recipes of the published systems have the values of the papers, which this file lists."""

from __future__ import annotations

import re

import pytest

from scaleprotoseg.data.labels import packaged_table
from scaleprotoseg.data.registry import READERS
from scaleprotoseg.recipe_files import RECIPES, read_recipe
from scaleprotoseg.training.recipe import Recipe

DATA = ("cityscapes", "voc2012", "ade20k", "coco_stuff", "isbi_em")
METHODS = ("deeplabv2", "protoseg", "scaleprotoseg")
CROPS = {"cityscapes": 513, "voc2012": 321, "ade20k": 512, "coco_stuff": 321, "isbi_em": 512}
PROTOTYPES = {"cityscapes": 228, "voc2012": 252, "ade20k": 1800, "coco_stuff": 2184, "isbi_em": 24}
FOREIGN_L1 = {"cityscapes": 1e-4, "voc2012": 1e-4, "ade20k": 1e-5, "coco_stuff": 0.0, "isbi_em": 1e-4}
GROUP_ENTROPY = {"cityscapes": 0.05, "voc2012": 0.05, "ade20k": 0.25, "coco_stuff": 0.25, "isbi_em": 0.05}
GROUP_L1 = {"cityscapes": 1e-3, "voc2012": 1e-3, "ade20k": 1e-4, "coco_stuff": 1e-4, "isbi_em": 1e-4}
JOINT = {"cityscapes": 30_000, "voc2012": 30_000, "ade20k": 60_000, "coco_stuff": 30_000, "isbi_em": 10_000}
FINE_TUNE = {"cityscapes": 2_000, "voc2012": 6_000, "ade20k": 4_000, "coco_stuff": 2_000, "isbi_em": 10_000}


def recipe(data: str, method: str) -> Recipe:
    return read_recipe(["--config", f"{data}/{method}"])


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("method", METHODS)
def test_what_all_methods_share(data, method):
    ours = recipe(data, method)
    assert (ours.method, ours.data.name) == (method, data)
    assert ours.data.crop == (CROPS[data], CROPS[data])
    assert ours.data.scale == ((0.5, 2.0) if data == "ade20k" else (0.5, 1.5))
    assert ours.data.batch_size * ours.data.accumulate == (2 if data == "isbi_em" else 10)
    assert ours.data.split == ("train_aug" if data == "voc2012" else "train")
    network = ours.network
    assert network.pyramid.dilations == (6, 12, 18, 24)
    assert network.encoder.output_stride == 8 and network.encoder.pretrained == (data != "isbi_em")
    assert network.encoder.name == ("unet" if data == "isbi_em" else "caffe_resnet101.tv_in1k")
    assert network.input.mean == (0.485, 0.456, 0.406) and network.input.std == (0.229, 0.224, 0.225)
    assert network.input.scales == ((0.5, 0.75) if data in ("voc2012", "coco_stuff") else ())
    assert ours.loss.supervision == "cells" and ours.loss.class_balance == 0
    joint = ours.phases["joint"]
    rates = (1e-4, 1e-4) if data == "isbi_em" else (2.5e-5, 2.5e-4)
    assert (joint.steps, joint.decay, joint.weight_decay) == (JOINT[data], "poly", 5e-4)
    assert (joint.learning_rates["encoder"], joint.learning_rates["pyramid"]) == rates
    assert joint.encoder_norm == ("free" if data == "isbi_em" else "frozen")


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("method", ["protoseg", "scaleprotoseg"])
def test_prototype_learning(data, method):
    ours = recipe(data, method)
    phases, em = ours.phases, data == "isbi_em"
    assert ("warm-up" in phases) != em
    if not em:
        warm = phases["warm-up"]
        assert warm.learning_rates == {"pyramid": 2.5e-4, "prototypes": 2.5e-4}
        assert (warm.steps, warm.decay, warm.weight_decay) == (6000 if data == "ade20k" else 3000, "constant", 5e-4)
        assert warm.diversity == 0.25
    assert phases["joint"].learning_rates["prototypes"] == (1e-4 if em else 2.5e-4)
    assert phases["joint"].diversity == 0.25 and "classifier" not in phases["joint"].learning_rates
    tune = phases["fine-tune"]
    assert (tune.steps, tune.learning_rates) == (FINE_TUNE[data], {"classifier": 1e-5})
    assert tune.foreign_l1 == FOREIGN_L1[data]
    order = list(phases)
    assert order.index("joint") < order.index("projection") < order.index("fine-tune")
    assert phases["projection"].do == "project"


@pytest.mark.parametrize("data", DATA)
def test_scaleprotoseg(data):
    ours = recipe(data, "scaleprotoseg")
    assert ours.network.pyramid.fuse == "keep" and ours.network.pyramid.channels == 64
    scales, classes = len(ours.network.pyramid.dilations), len(packaged_table(data))
    assert ours.network.head.prototypes == 3
    assert scales * classes * ours.network.head.prototypes == PROTOTYPES[data]
    phases, em = ours.phases, data == "isbi_em"
    assert (phases["grouping"].do, phases["grouping"].groups) == ("group", 3)
    assert ("group-warm-up" in phases) != em
    if not em:
        warm = phases["group-warm-up"]
        assert (warm.steps, warm.learning_rates, warm.decay) == (2000, {"groups": 2.5e-4}, "constant")
        assert warm.group_entropy == GROUP_ENTROPY[data]
    groups, rate = phases["groups"], 5e-5 if em else 2.5e-4
    assert (groups.steps, groups.decay) == (10_000 if em else 30_000, "poly")
    assert groups.learning_rates == {"groups": rate, "classifier": rate}
    assert (groups.group_entropy, groups.foreign_l1) == (GROUP_ENTROPY[data], GROUP_L1[data])
    assert (phases["pruning"].do, phases["pruning"].threshold) == ("prune", 0.05)
    assert list(phases)[-1] == "pruning"


@pytest.mark.parametrize("data", DATA)
def test_protoseg(data):
    ours = recipe(data, "protoseg")
    assert ours.network.pyramid.fuse == "sum" and ours.network.head.prototypes == 10
    pruning, again = list(ours.phases.values())[-2:]
    assert (pruning.do, pruning.neighbours, pruning.agreeing) == ("prune-by-neighbours", 6, 3)
    assert again == ours.phases["fine-tune"]


@pytest.mark.parametrize("data", DATA)
def test_deeplabv2(data):
    ours = recipe(data, "deeplabv2")
    assert ours.network.head.kind == "direct" and list(ours.phases) == ["joint"]


def test_evaluation_as_in_the_paper():
    sizes = {"cityscapes": None, "voc2012": (513, 513), "ade20k": 512, "coco_stuff": None, "isbi_em": None}
    assert {name: reader.paper_size for name, reader in READERS.items() if reader.paper} == sizes


PUBLISHED = {
    ("cityscapes", "deeplabv2"): ("71.40", "70.40"),
    ("cityscapes", "protoseg"): ("67.54", "67.04"),
    ("cityscapes", "scaleprotoseg"): ("68.97", "68.52"),
    ("voc2012", "deeplabv2"): ("77.69", "79.70"),
    ("voc2012", "protoseg"): ("71.98", "72.92"),
    ("voc2012", "scaleprotoseg"): ("71.80", "72.35"),
    ("ade20k", "deeplabv2"): ("34.00",),
    ("ade20k", "protoseg"): ("29.67",),
    ("ade20k", "scaleprotoseg"): ("34.18",),
}


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("method", METHODS)
def test_headers_state_the_published_results_and_what_differs(data, method):
    header = (RECIPES / data / f"{method}.yaml").read_text().split("method:")[0]
    assert "Differs from the paper: " in header
    for figure in PUBLISHED.get((data, method), ()):
        assert figure in header
    assert re.search(r"^# Duration: about [\d.]+ (hours|minutes) ", header, re.MULTILINE)
