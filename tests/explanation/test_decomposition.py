"""The sums that an explanation promises, on any image and any pixel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.errors import UserError
from scaleprotoseg.explanation.decomposition import REPR_LINES, Decomposition, PixelExplanation, decompose
from scaleprotoseg.inference.prediction import logits_of
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, InputConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.heads.groups import GroupHead
from scaleprotoseg.model.network import Network
from scaleprotoseg.training.projection import project
from tests.builders.images import LABELS, Chosen, Toys
from tests.builders.networks import black_box, projected_network, small_network
from tests.explanation import toy


@pytest.fixture(scope="module")
def terms() -> Decomposition:
    return decompose(projected_network(), Toys(1)[0].image)


def check_sums(why: PixelExplanation) -> float:
    """Checks the sums that an explanation promises, and returns their largest error."""
    logit = abs(math.fsum(group.contribution for group in why.groups) - why.logit)
    cells = [
        abs(math.fsum(member.contribution for member in group.members) - math.log(group.cell_activation))
        for group in why.groups
    ]
    assert logit <= 1e-4 and max(cells) <= 1e-4
    return max(logit, *cells)


def test_a_thousand_pixels_of_real_images(real_data):
    """Street scenes, after projection, so that some similarities are as large as possible."""
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
        terms = decompose(network, image)
        upsampled = F.interpolate(logits_of(network, image)[None], size=image.size[::-1], mode="bilinear")[0]
        for x, y in rng.integers(0, image.size, (100, 2)).tolist():
            why = terms.at(x, y)
            worst = max(worst, check_sums(why))
            assert why.class_name == dataset.labels.names[int(upsampled[:, y, x].argmax())]
            size = math.fsum(abs(group.contribution) for group in why.groups)
            assert why.logit == pytest.approx(float(upsampled[:, y, x].max()), abs=1e-5 * size)
    print(f"largest error of a sum over 1000 pixels: {worst:.1e}")


def test_every_pixel_of_a_small_image(terms):
    width, height = terms.image.size
    upsampled = F.interpolate(terms.logits[None], size=(height, width), mode="bilinear")[0]
    for y in range(height):
        for x in range(width):
            why = terms.at(x, y)
            check_sums(why)
            ranking = upsampled[:, y, x].argsort(descending=True)
            assert why.logit == pytest.approx(float(upsampled[ranking[0], y, x]), abs=1e-4)
            assert why.runner_up.logit == pytest.approx(float(upsampled[ranking[1], y, x]), abs=1e-4)
            assert why.cell == (y * terms.logits.shape[1] // height, x * terms.logits.shape[2] // width)


def test_why_not_another_class(terms):
    winner = terms.at(5, 6)
    for name in LABELS.names:
        why = terms.at(5, 6, class_name=name)
        check_sums(why)
        assert why.class_name == name
        assert why.runner_up.class_name == (
            winner.class_name if name != winner.class_name else winner.runner_up.class_name
        )


def test_groups_of_other_classes_are_listed_and_members_are_sorted(terms):
    why = terms.at(20, 20)
    assert {group.class_name for group in why.groups} == set(LABELS.names)
    assert all(group.contribution < 0 for group in why.groups if group.class_name != why.class_name)
    for group in why.groups:
        assert group.name == f"group {group.index % 2 + 1}"
        assert sum(member.weight for member in group.members) == pytest.approx(1, abs=1e-5)
        values = [member.contribution for member in group.members]
        assert values == sorted(values, reverse=True)
        assert all(member.source is not None for member in group.members)


def test_a_model_without_groups_sums_over_its_prototypes():
    why = decompose(small_network(), Toys(1)[0].image).at(3, 4)
    assert len(why.groups) == 12
    assert math.fsum(group.contribution for group in why.groups) == pytest.approx(why.logit, abs=1e-4)
    for group in why.groups:
        assert group.name == f"prototype #{group.index}"
        assert [member.contribution for member in group.members] == [pytest.approx(group.cell_activation)]


@pytest.mark.parametrize("kind", ["path", "gray array", "rgb array", "gray image"])
def test_kinds_of_images(kind, tmp_path):
    rgb = np.array(Toys(1)[0].image)
    gray = rgb[..., 0]
    if kind == "path":
        Image.fromarray(rgb).save(tmp_path / "a.png")
        given = str(tmp_path / "a.png")
    else:
        given = {"gray array": gray, "rgb array": rgb, "gray image": Image.fromarray(gray)}[kind]
    check_sums(decompose(projected_network(), given).at(0, 0))


def test_class_fractions_are_those_of_the_prediction(terms):
    fractions = terms.class_fractions
    assert fractions == {index: float((terms.prediction == index).mean()) for index in fractions}
    assert list(fractions.values()) == sorted(fractions.values(), reverse=True)
    assert sum(fractions.values()) == pytest.approx(1)


def test_numpy_integers_are_pixels(terms):
    why = terms.at(np.int64(3), np.uint8(2))
    assert (type(why.x), type(why.y)) == (int, int)
    assert why == terms.at(3, 2)


@pytest.mark.parametrize(("x", "y"), [(-1, 0), (48, 0), (0, 40), (0, np.int64(-1)), (10**30, 0)])
def test_pixels_outside_are_an_error(terms, x, y):
    with pytest.raises(UserError, match=r"is outside the 48x40 image; give whole numbers 0 <= x < 48 and 0 <= y < 40$"):
        terms.at(x, y)


@pytest.mark.parametrize(
    ("x", "y", "axis", "kind"),
    [
        (1.5, 2, "x", "float"),
        (1, 2.0, "y", "float"),
        ("1", 2, "x", "str"),
        (None, 2, "x", "NoneType"),
        (1, True, "y", "bool"),
        (np.float32(1), 2, "x", "float32"),
        (np.zeros((3, 3), int), 2, "x", "ndarray"),
        (1, float("nan"), "y", "float"),
    ],
)
def test_pixels_must_be_whole_numbers(terms, x: Any, y: Any, axis, kind):
    with pytest.raises(UserError, match=rf"^pixel: {axis} is of type {kind}, not a whole number; give [^\n]*$"):
        terms.at(x, y)


@pytest.mark.parametrize("name", [1, ["disc"], b"disc", np.array(["disc", "bar"])])
def test_class_names_must_be_strings(terms, name: Any):
    with pytest.raises(UserError, match=r"^class_name: is of type \w+, not a string; choose one of ground, disc, bar$"):
        terms.at(0, 0, class_name=name)


@pytest.mark.parametrize("name", ["tram", "", "Disc", "a\nb"])
def test_unknown_classes_are_an_error(terms, name):
    with pytest.raises(UserError) as error:
        terms.at(0, 0, class_name=name)
    assert str(error.value) == f"class {name!r}: is unknown; choose one of ground, disc, bar"
    assert "\n" not in str(error.value)


def test_a_black_box_and_unsupported_arrays_are_an_error():
    image = Toys(1)[0].image
    with pytest.raises(UserError, match="no prototypes"):
        decompose(black_box(), image)
    for array in (np.zeros((4, 4), np.float32), np.zeros((4, 4, 7), np.uint8), np.zeros((0, 4), np.uint8)):
        with pytest.raises(UserError, match="uint8"):
            decompose(projected_network(), array)


def test_a_pixel_explanation_prints_its_strongest_groups(terms):
    why = terms.at(20, 20)
    lines = str(why).splitlines()
    assert repr(why) == str(why)
    assert lines[0] == (
        f"Pixel (20, 20): {why.class_name}, logit {why.logit:.2f}; "
        f"best other class: {why.runner_up.class_name}, logit {why.runner_up.logit:.2f}"
    )
    assert len(lines) <= REPR_LINES == 12
    best = why.groups[0]
    assert f"{best.contribution:+.2f}  {best.class_name}, {best.name}" in lines[2]
    assert f"{best.members[0].contribution:.2f}, from toy-" in lines[3]


@pytest.mark.parametrize("grouped", [True, False])
def test_printed_explanations_are_short_with_any_names(grouped):
    terms = decompose(toy.network(grouped), toy.drawn())
    hostile = toy.table(("a\nb\x1b[31m", *toy.HOSTILE[1:]))
    why = Decomposition(**vars(terms) | {"labels": hostile}).at(40, 30)
    for shown in (str(why), repr(why)):
        assert len(shown.splitlines()) <= REPR_LINES
        assert "\x1b" not in shown and "PNG" not in shown
    for part in (*why.groups, *why.groups[0].members):
        assert len(repr(part)) < 200 and len(repr(part).splitlines()) == 1


def test_all_contributions_are_printed_or_summed_up(terms):
    why = terms.at(20, 20)
    shown = [float(line.split()[0]) for line in str(why).splitlines() if line.lstrip()[0] in "+-"]
    assert sum(shown) == pytest.approx(why.logit, abs=0.05)
