"""The loss of one training step."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.training.batches import Batches
from scaleprotoseg.training.config import LossConfig
from scaleprotoseg.training.fit_module import FitModule
from scaleprotoseg.training.fit_settings import FitSettings
from scaleprotoseg.training.frozen import FrozenPrefix, frozen_level
from scaleprotoseg.training.losses.class_cells import OwnPrototypes
from scaleprotoseg.training.losses.diversity import Diversity
from scaleprotoseg.training.losses.segmentation import PixelLoss
from tests.builders.images import Toys
from tests.builders.networks import small_network
from tests.builders.recipes import make_recipe
from tests.builders.streams import training_stream


def test_the_loss_is_the_mean_over_all_readings_of_an_image(monkeypatch):
    network, sample = small_network(scales=(0.5, 0.75)), Toys(1)[0]
    fit = FitSettings(steps=1, learning_rates={"encoder": 1.0}, diversity=0.25, foreign_l1=0.01)
    prefix = FrozenPrefix(network, frozen_level(network, fit))
    batches = Batches(training_stream(make_recipe(), Toys(1), 1), size=1, accumulate=1, workers=0)
    module = FitModule(network, fit, PixelLoss(LossConfig(), None), prefix, batches).eval()
    monkeypatch.setattr(module, "log_dict", lambda *_, **__: None)
    images = torch.tensor(list(sample.image.tobytes()), dtype=torch.uint8).view(1, 40, 48, 3).permute(0, 3, 1, 2)
    masks = torch.from_numpy(sample.mask)[None]
    expected = 0.0
    readings = network.pyramid_maps(network.features(images / 255))
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
