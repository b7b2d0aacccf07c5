"""Losses of batches in which there is nothing to average over."""

from __future__ import annotations

import pytest
import torch

from scaleprotoseg.training.losses.class_cells import OwnPrototypes
from scaleprotoseg.training.losses.diversity import Diversity
from scaleprotoseg.training.losses.noise_consistency import NoiseConsistency
from scaleprotoseg.training.losses.pointing import Pointing
from scaleprotoseg.training.losses.segmentation import cross_entropy


@pytest.mark.parametrize("weight", [1.0, 100.0])
def test_where_nothing_counts_loss_and_gradient_are_zero(weight):
    own = OwnPrototypes(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), 1)
    maps, cells = torch.rand(1, 1, 2, 2, requires_grad=True), torch.zeros(1, 2, 2, dtype=torch.uint8)
    losses = [
        Diversity(own)(maps, cells),
        *NoiseConsistency(own)(maps, maps.detach(), cells),
        Pointing(own, torch.tensor([1]))(maps, cells, cells),
        cross_entropy(maps, cells.fill_(255)),
    ]
    (weight * torch.stack(losses)).sum().backward()
    assert not any(losses) and torch.equal(maps.grad, torch.zeros_like(maps))
