"""The explanation is the decision: sums that must come out, on any picture and any pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.errors import UserError
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, InputConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.groups import GroupHead
from scaleprotoseg.model.inference import logits_of
from scaleprotoseg.model.network import Network
from scaleprotoseg.training.projection import project
from tests.model.test_search import Chosen, small_network
from tests.toys import LABELS, Toys


def grouped_network(**changes) -> Network:
    network = small_network(**changes)
    project(network, Toys(3))
    network.replace_head(GroupHead.over(network.head, 2), network.sources)
    return network


def check_sums(why):
    """The sums an explanation promises; returns their largest deviation."""
    logit = abs(math.fsum(group.contribution for group in why.groups) - why.logit)
    cells = [
        abs(math.fsum(member.contribution for member in group.members) - math.log(group.cell_activation))
        for group in why.groups
    ]
    assert logit <= 1e-4 and max(cells) <= 1e-4
    return max(logit, *cells)


def test_a_thousand_pixels_of_real_pictures(real_data):
    """On street photographs, after projection, so that some similarities are as large as they get."""
    dataset = open_dataset("camvid", "train", real_data / "camvid")
    torch.manual_seed(0)
    config = NetworkConfig(
        EncoderConfig("resnet10t", stage=2), PyramidConfig((1, 2, 3, 4)), HeadConfig(prototypes=3), InputConfig(size=90)
    )
    network = Network(config, dataset.labels).eval()
    project(network, Chosen(dataset, [0, 90, 180]))
    network.replace_head(GroupHead.over(network.head, 3), network.sources)
    rng, worst = np.random.default_rng(0), 0.0
    for index in [0, 30, 60, 90, 120, 150, 180, 210, 240, 270]:
        image = dataset[index].image
        page = network.explain(image)
        shown = F.interpolate(logits_of(network, image)[None], size=image.size[::-1], mode="bilinear")[0]
        for x, y in rng.integers(0, image.size, (100, 2)).tolist():
            why = page.at(x, y)
            worst = max(worst, check_sums(why))
            assert why.class_name == dataset.labels.names[int(shown[:, y, x].argmax())]
            size = math.fsum(abs(group.contribution) for group in why.groups)
            assert why.logit == pytest.approx(float(shown[:, y, x].max()), abs=1e-5 * size)
    print(f"largest deviation of a sum over 1000 pixels: {worst:.1e}")


def test_every_pixel_of_a_small_picture():
    network = grouped_network()
    page = network.explain(Toys(1)[0].image)
    width, height = page.image.size
    upsampled = F.interpolate(page.logits[None], size=(height, width), mode="bilinear")[0]
    for y in range(height):
        for x in range(width):
            why = page.at(x, y)
            check_sums(why)
            ranking = upsampled[:, y, x].argsort(descending=True)
            assert why.logit == pytest.approx(float(upsampled[ranking[0], y, x]), abs=1e-4)
            assert why.runner_up.logit == pytest.approx(float(upsampled[ranking[1], y, x]), abs=1e-4)
            assert why.cell == (y * page.logits.shape[1] // height, x * page.logits.shape[2] // width)


def test_why_not_another_class():
    page = grouped_network().explain(Toys(1)[0].image)
    winner = page.at(5, 6)
    for name in LABELS.names:
        why = page.at(5, 6, class_name=name)
        check_sums(why)
        assert why.class_name == name
        assert why.runner_up.class_name == (
            winner.class_name if name != winner.class_name else winner.runner_up.class_name
        )


def test_groups_of_other_classes_are_listed_and_members_are_sorted():
    network = grouped_network()
    why = network.explain(Toys(1)[0].image).at(20, 20)
    assert {group.class_name for group in why.groups} == set(LABELS.names)
    assert all(group.contribution < 0 for group in why.groups if group.class_name != why.class_name)
    for group in why.groups:
        assert sum(member.weight for member in group.members) == pytest.approx(1, abs=1e-5)
        values = [member.contribution for member in group.members]
        assert values == sorted(values, reverse=True)
        assert all(member.source is not None for member in group.members)


def test_a_model_without_groups_sums_over_its_prototypes():
    network = small_network()
    why = network.explain(Toys(1)[0].image).at(3, 4)
    assert len(why.groups) == 12
    assert math.fsum(group.contribution for group in why.groups) == pytest.approx(why.logit, abs=1e-4)
    for group in why.groups:
        assert [member.contribution for member in group.members] == [pytest.approx(group.cell_activation)]


@pytest.mark.parametrize("kind", ["path", "grey array", "rgb array", "grey picture"])
def test_what_explain_takes(kind, tmp_path):
    network = grouped_network()
    rgb = np.array(Toys(1)[0].image)
    grey = rgb[..., 0]
    if kind == "path":
        Image.fromarray(rgb).save(tmp_path / "a.png")
        given = str(tmp_path / "a.png")
    else:
        given = {"grey array": grey, "rgb array": rgb, "grey picture": Image.fromarray(grey)}[kind]
    check_sums(network.explain(given).at(0, 0))


@pytest.mark.parametrize(("x", "y"), [(-1, 0), (48, 0), (0, 40)])
def test_pixels_outside_are_refused(x, y):
    with pytest.raises(UserError, match="outside the 48x40 picture"):
        grouped_network().explain(Toys(1)[0].image).at(x, y)


def test_unknown_class_and_black_box_and_bad_array_are_refused():
    page = grouped_network().explain(Toys(1)[0].image)
    with pytest.raises(UserError, match="'tram' is unknown; choose one of ground, disc, bar"):
        page.at(0, 0, class_name="tram")
    box = NetworkConfig(EncoderConfig("resnet10t", stage=2), PyramidConfig((1, 2)), HeadConfig("direct"))
    with pytest.raises(UserError, match="no prototypes"):
        Network(box, LABELS, "deeplabv2").eval().explain(Toys(1)[0].image)
    for array in (np.zeros((4, 4), np.float32), np.zeros((4, 4, 7), np.uint8), np.zeros((0, 4), np.uint8)):
        with pytest.raises(UserError, match="uint8"):
            grouped_network().explain(array)
