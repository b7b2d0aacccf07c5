"""One training step: what its loss is made of, and batch norm over several GPUs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.model.config import EncoderConfig
from scaleprotoseg.model.encoder import Encoder
from scaleprotoseg.training.curriculum import _stream
from scaleprotoseg.training.losses import Diversity, OwnPrototypes
from scaleprotoseg.training.module import FitModule
from scaleprotoseg.training.recipe import DataConfig, LossConfig, Phase
from scaleprotoseg.training.stem import Stem, level_of
from scaleprotoseg.training.sync import SyncNorms
from tests.model.test_search import small_network
from tests.toys import Toys
from tests.training.test_curriculum import make_recipe


def test_the_loss_is_the_mean_over_all_readings_of_a_picture(monkeypatch):
    network, sample = small_network(scales=(0.5, 0.75)), Toys(1)[0]
    phase = Phase(steps=1, learning_rates={"encoder": 1.0}, diversity=0.25, foreign_l1=0.01)
    stem = Stem(network, level_of(network, phase))
    module = FitModule(
        network, phase, LossConfig(), None, stem, _stream(make_recipe(), phase, Toys(1), 0, 1), DataConfig()
    ).eval()
    monkeypatch.setattr(module, "log_dict", lambda *_, **__: None)
    images = torch.tensor(list(sample.image.tobytes()), dtype=torch.uint8).view(1, 40, 48, 3).permute(0, 3, 1, 2)
    masks = torch.from_numpy(sample.mask)[None]
    expected = 0.0
    readings = network.readings(images / 255)
    assert len(readings) == 4
    layer = network.prototypes
    for maps in readings:
        output = network.head(maps)
        labels = resize_labels(masks, maps.shape[-2:]).long()
        expected += F.cross_entropy(output.logits, labels, ignore_index=255)
        expected += 0.25 * Diversity(OwnPrototypes(layer.prototype_class, layer.prototype_scale, 3))(
            output.distances, labels
        )
    foreign = network.head.classifier[layer.prototype_class != torch.arange(3)[:, None]].abs().sum()
    expected = expected / 4 + 0.01 * foreign
    torch.testing.assert_close(module.training_step((images, masks, torch.zeros(1, 0)), 0), expected)


@pytest.mark.parametrize("name", ["regnetx_002", "resnet10t", "unet16"])
def test_synchronised_norms_are_put_in_and_taken_out_without_a_trace(name):
    torch.manual_seed(0)
    encoder, images, sync = Encoder(EncoderConfig(name)).eval(), torch.rand(1, 3, 32, 32), SyncNorms()
    kinds = [type(module) for module in encoder.modules()]
    before = encoder(images)
    assert sync.apply(encoder) is encoder
    assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in encoder.modules())
    torch.testing.assert_close(encoder(images), before)
    norm = next(module for module in encoder.modules() if isinstance(module, torch.nn.SyncBatchNorm))
    norm.running_mean += 1  # as training does
    changed = encoder(images)
    sync.revert(encoder)
    assert [type(module) for module in encoder.modules()] == kinds
    torch.testing.assert_close(encoder(images), changed)
