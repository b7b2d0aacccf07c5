"""The feature cache gives the outputs of its images, stays within its disk space and is completed after a stop."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from scaleprotoseg.data.seeds import seed_of
from scaleprotoseg.data.transforms import TrainingStream
from scaleprotoseg.errors import UserError
from scaleprotoseg.model.network import Network
from scaleprotoseg.training import feature_store
from scaleprotoseg.training.config import StoreConfig
from scaleprotoseg.training.copies import Copies
from scaleprotoseg.training.feature_store import FeatureCache, ViewCache, view_of
from scaleprotoseg.training.fit_settings import FitSettings
from scaleprotoseg.training.frozen import FrozenPrefix, frozen_level
from tests.builders.images import PartToys, Toys
from tests.builders.networks import small_network
from tests.builders.recipes import make_recipe
from tests.builders.streams import training_stream

PYRAMID = FitSettings(steps=1, learning_rates={"pyramid": 0.1})
GROUPS = FitSettings(steps=1, learning_rates={"groups": 0.1})


class Opened(NamedTuple):
    views: ViewCache
    prefix: FrozenPrefix
    stream: Callable[[int], TrainingStream]


def grouped(**changes: Any) -> Network:
    return small_network(groups=2, **changes)


def open_cache(
    network: Network,
    settings: FitSettings,
    folder: Path,
    views: int = 2,
    gib: float = 1.0,
    length: int = 40,
    teacher: Network | None = None,
) -> Opened:
    recipe = replace(make_recipe(), store=StoreConfig(views, gib))
    prefix = FrozenPrefix(network, frozen_level(network, settings), teacher)
    with_parts = settings.pointing > 0

    def stream(count: int) -> TrainingStream:
        return training_stream(recipe, PartToys(), count, with_parts=with_parts)

    cache = FeatureCache(prefix, Copies(settings.noise, settings.window), with_parts, recipe, folder)
    return Opened(cache.views(stream, length), prefix, stream)


@pytest.mark.parametrize(("settings", "scales"), [(PYRAMID, ()), (PYRAMID, (0.5,)), (GROUPS, ()), (GROUPS, (0.5,))])
def test_outputs_from_cached_views_are_those_of_the_images(tmp_path, settings, scales):
    network = grouped(scales=scales)
    views, prefix, stream = open_cache(network, settings, tmp_path)
    assert (prefix.level, views.views) == ("features" if settings is PYRAMID else "similarities", 12)
    images = stream(12)
    for index in (0, 5, 11):
        view = views[index]
        image, expected_mask, _ = images[index]
        assert torch.equal(view.masks, expected_mask) and not len(view.parts)
        assert not view.noisy and not view.masked and not view.teacher_logits
        with torch.no_grad():
            expected = [network.head(maps).logits for maps in network.pyramid_maps(network.features(image[None] / 255))]
            ours = [output.logits for output in prefix.outputs([maps[None].float() for maps in view.clean])]
        torch.testing.assert_close(ours, expected, rtol=0.02, atol=0.02)


def test_parts_are_cached_for_a_fit_that_uses_them(tmp_path):
    network, pointing = grouped(), replace(PYRAMID, pointing=1.0)
    open_cache(network, PYRAMID, tmp_path)
    views, _, stream = open_cache(network, pointing, tmp_path)
    images = stream(12)
    assert all(torch.equal(views[index].parts, images[index][2]) for index in range(12))
    assert any(views[index].parts.any() for index in range(12))


def test_noisy_copies_are_views_with_noise(tmp_path):
    settings, network = replace(PYRAMID, noise=0.3), grouped(std=(0.5, 2.0, 1.0))
    views, prefix, stream = open_cache(network, settings, tmp_path)
    clean, _, (noisy,), *_ = views[3]
    image = stream(12)[3][0][None] / 255
    generator = torch.Generator().manual_seed(seed_of(7, 0))
    noise = torch.randn(8, *image.shape[1:], generator=generator)[3]
    torch.testing.assert_close(noisy[None].float(), prefix(image + 0.3 * network.std * noise)[0], rtol=0.02, atol=0.02)
    assert not torch.equal(clean[0], noisy)


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("cached", [False, True])
def test_a_view_has_the_logits_of_the_teacher(tmp_path, cached, same):
    network, teacher = grouped(), small_network().eval()
    read = []
    teacher.encoder.register_forward_hook(lambda *_: read.append(1))
    with torch.no_grad():
        teacher.head.classifier.normal_()
        teacher.encoder.load_state_dict(network.encoder.state_dict())
        if not same:
            next(teacher.encoder.parameters()).mul_(2)
    image, mask, parts = training_stream(make_recipe(), Toys(), 12)[3]
    if cached:
        views, *_ = open_cache(network, PYRAMID, tmp_path, teacher=teacher)
        (logits,) = views[3].teacher_logits
    else:
        prefix = FrozenPrefix(network, "features", teacher)
        view = view_of(prefix, Copies(PYRAMID.noise, 0), image[None] / 255, mask[None], parts[None], torch.Generator())
        (logits,) = view.teacher_logits
    assert bool(read) != same  # The encoder that both have is run once.
    expected = teacher(image[None] / 255).logits.detach()
    torch.testing.assert_close(logits.float().view_as(expected), expected, rtol=0.01, atol=0.01)


def test_every_epoch_has_all_views_in_its_own_order(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "CHUNK", 5)
    views, *_ = open_cache(grouped(), PYRAMID, tmp_path, length=40)
    epochs = [[views[epoch * 12 + position].clean[0] for position in range(12)] for epoch in range(3)]
    keys = [[float(maps.float().sum()) for maps in epoch] for epoch in epochs]
    assert sorted(keys[0]) == sorted(keys[1]) == sorted(keys[2])
    assert keys[0] != keys[1] != keys[2]
    assert len(views) == 40


def test_the_cache_stays_within_its_disk_space(tmp_path, caplog):
    whole, *_ = open_cache(grouped(), PYRAMID, tmp_path / "a")
    size = sum(file.stat().st_size for file in (tmp_path / "a").rglob("*.npy"))
    with caplog.at_level(logging.INFO, logger="scaleprotoseg"):
        half, *_ = open_cache(grouped(), PYRAMID, tmp_path / "b", gib=size / 2 / 2**30)
    assert whole.views == 12
    assert 4 <= half.views <= 6
    assert f"{half.views} of 12 views fit" in caplog.text
    assert sum(file.stat().st_size for file in (tmp_path / "b").rglob("*.npy")) <= size / 2 + 4096
    with pytest.raises(UserError, match=r"store\.gib is .*allow more"):
        open_cache(grouped(), PYRAMID, tmp_path / "c", gib=1e-9)


def test_missing_chunks_are_computed_and_existing_ones_are_not_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "CHUNK", 5)
    network = grouped()
    whole, *_ = open_cache(network, PYRAMID, tmp_path)
    (place,) = tmp_path.iterdir()
    values = [whole[index].clean[0] for index in range(12)]
    shutil.rmtree(place / "00001")
    times = {chunk.name: chunk.stat().st_mtime_ns for chunk in place.iterdir()}
    again, *_ = open_cache(network, PYRAMID, tmp_path)
    assert all(torch.equal(again[index].clean[0], values[index]) for index in range(12))
    assert {chunk.name: chunk.stat().st_mtime_ns for chunk in place.iterdir() if chunk.name in times} == times


def test_a_cache_is_used_if_it_matches_and_replaced_otherwise(tmp_path):
    network = grouped()

    def name_after(settings, teacher=None):
        open_cache(network, settings, tmp_path, teacher=teacher)
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
