"""What stands still, computed once: the same numbers as the plain way, bounded, and taken up again."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace

import pytest
import torch

from scaleprotoseg.data.seeds import seed_of
from scaleprotoseg.errors import UserError
from scaleprotoseg.model.groups import GroupHead
from scaleprotoseg.training import store
from scaleprotoseg.training.curriculum import _stream
from scaleprotoseg.training.recipe import Phase, StoreConfig
from scaleprotoseg.training.stem import Stem, level_of
from scaleprotoseg.training.store import stored, view_of
from tests.evaluation.toys import PartToys
from tests.model.test_search import small_network
from tests.toys import Toys
from tests.training.test_curriculum import make_recipe

PYRAMID = Phase(steps=1, learning_rates={"pyramid": 0.1})
GROUPS = Phase(steps=1, learning_rates={"groups": 0.1})


def grouped(**options):
    network = small_network(**options)
    network.replace_head(GroupHead.over(network.head, 2), network.sources)
    return network.eval()


def open_store(network, phase, folder, views=2, gib=1.0, length=40, teacher=None):
    recipe = replace(make_recipe(), store=StoreConfig(views, gib))
    stem = Stem(network, level_of(network, phase), teacher)

    def stream(count):
        return _stream(recipe, phase, PartToys(), 7, count)

    return stored(stem, phase, recipe, stream, folder, length), stem, stream


@pytest.mark.parametrize(("phase", "scales"), [(PYRAMID, ()), (PYRAMID, (0.5,)), (GROUPS, ()), (GROUPS, (0.5,))])
def test_outputs_from_a_store_are_those_of_the_pictures(tmp_path, phase, scales):
    network = grouped(scales=scales)
    views, stem, stream = open_store(network, phase, tmp_path)
    assert (stem.level, views.views) == ("features" if phase is PYRAMID else "similarities", 12)
    pictures = stream(12)
    for index in (0, 5, 11):
        clean, mask, twin, taught, parts = views[index]
        image, expected_mask, _ = pictures[index]
        assert torch.equal(mask, expected_mask) and not twin and not taught and not len(parts)
        with torch.no_grad():
            expected = [network.head(maps).logits for maps in network.readings(image[None] / 255)]
            ours = [output.logits for output in stem.outputs([maps[None].float() for maps in clean])]
        torch.testing.assert_close(ours, expected, rtol=0.02, atol=0.02)


def test_parts_are_in_the_store_of_a_phase_that_looks_at_them(tmp_path):
    network, pointing = grouped(), replace(PYRAMID, pointing=1.0)
    open_store(network, PYRAMID, tmp_path)
    views, _, stream = open_store(network, pointing, tmp_path)
    pictures = stream(12)
    assert all(torch.equal(views[index].parts, pictures[index][2]) for index in range(12))
    assert any(views[index].parts.any() for index in range(12))


def test_twins_in_a_store_are_its_views_with_noise(tmp_path):
    phase, network = replace(PYRAMID, noise=0.3), grouped(std=(0.5, 2.0, 1.0))
    views, stem, stream = open_store(network, phase, tmp_path)
    clean, _, (twin,), *_ = views[3]
    image = stream(12)[3][0][None] / 255
    generator = torch.Generator().manual_seed(seed_of(7, 0))
    noise = torch.randn(8, *image.shape[1:], generator=generator)[3]
    torch.testing.assert_close(twin[None].float(), stem(image + 0.3 * network.std * noise)[0], rtol=0.02, atol=0.02)
    assert not torch.equal(clean[0], twin)


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("stores", [0, 2])
def test_a_view_has_what_the_teacher_says_of_it(tmp_path, stores, same):
    network, teacher = grouped(), small_network().eval()
    read = []
    teacher.encoder.register_forward_hook(lambda *_: read.append(1))
    with torch.no_grad():
        teacher.head.classifier.normal_()
        teacher.encoder.load_state_dict(network.encoder.state_dict())
        if not same:
            next(teacher.encoder.parameters()).mul_(2)
    image, mask, parts = _stream(make_recipe(), PYRAMID, Toys(), 7, 12)[3]
    if stores:
        views, *_ = open_store(network, PYRAMID, tmp_path, teacher=teacher)
        (taught,) = views[3].taught
    else:
        stem = Stem(network, "features", teacher)
        view = view_of(stem, PYRAMID, image[None] / 255, mask[None], parts[None], torch.Generator())
        (taught,) = view.taught
    assert bool(read) != same  # An encoder that both have is run once.
    expected = teacher(image[None] / 255).logits.detach()
    torch.testing.assert_close(taught.float().view_as(expected), expected, rtol=0.01, atol=0.01)


def test_every_lap_has_all_views_in_its_own_order(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "CHUNK", 5)
    views, *_ = open_store(grouped(), PYRAMID, tmp_path, length=40)
    laps = [[views[lap * 12 + place].clean[0] for place in range(12)] for lap in range(3)]
    keys = [[float(maps.float().sum()) for maps in lap] for lap in laps]
    assert sorted(keys[0]) == sorted(keys[1]) == sorted(keys[2])
    assert keys[0] != keys[1] != keys[2]
    assert len(views) == 40


def test_the_disk_bound_holds(tmp_path, caplog):
    whole, *_ = open_store(grouped(), PYRAMID, tmp_path / "a")
    size = sum(file.stat().st_size for file in (tmp_path / "a").rglob("*.npy"))
    with caplog.at_level(logging.INFO, logger="scaleprotoseg"):
        half, *_ = open_store(grouped(), PYRAMID, tmp_path / "b", gib=size / 2 / 2**30)
    assert whole.views == 12
    assert 4 <= half.views <= 6
    assert f"{half.views} of 12 views fit" in caplog.text
    assert sum(file.stat().st_size for file in (tmp_path / "b").rglob("*.npy")) <= size / 2 + 4096
    with pytest.raises(UserError, match=r"store\.gib is .*allow more"):
        open_store(grouped(), PYRAMID, tmp_path / "c", gib=1e-9)


def test_a_cut_off_store_is_finished_and_a_finished_one_is_not_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "CHUNK", 5)
    network = grouped()
    whole, *_ = open_store(network, PYRAMID, tmp_path)
    (place,) = tmp_path.iterdir()
    values = [whole[index].clean[0] for index in range(12)]
    shutil.rmtree(place / "00001")
    times = {chunk.name: chunk.stat().st_mtime_ns for chunk in place.iterdir()}
    again, *_ = open_store(network, PYRAMID, tmp_path)
    assert all(torch.equal(again[index].clean[0], values[index]) for index in range(12))
    assert {chunk.name: chunk.stat().st_mtime_ns for chunk in place.iterdir() if chunk.name in times} == times


def test_a_store_is_kept_for_what_it_fits_and_replaced_otherwise(tmp_path):
    network = grouped()

    def name_after(phase, teacher=None):
        open_store(network, phase, tmp_path, teacher=teacher)
        (place,) = tmp_path.iterdir()
        return place.name

    first = name_after(PYRAMID)
    with torch.no_grad():
        network.pyramid.branches[0].weight += 1  # above the features
    assert name_after(PYRAMID) == first
    second = name_after(GROUPS)
    with torch.no_grad():
        network.head.weights[:] = 0.5  # above the similarities
    assert name_after(GROUPS) == second != first
    with torch.no_grad():
        network.encoder.net.conv1[0].weight += 1  # beneath everything
    assert name_after(GROUPS) not in (first, second)
    teacher = small_network()
    names = {name_after(PYRAMID), name_after(replace(PYRAMID, noise=0.1)), name_after(PYRAMID, teacher)}
    with torch.no_grad():
        teacher.head.classifier += 1
    names.add(name_after(PYRAMID, teacher))
    assert len(names) == 4
