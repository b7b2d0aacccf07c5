"""The choice of the precision by a probe of the network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from scaleprotoseg.training import precision
from scaleprotoseg.training.precision import choose_precision, gradient_agreement
from tests.builders.networks import small_network


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 40, 48), generator=generator)
    return images, torch.randint(0, 3, (2, 40, 48), generator=generator)


class Canceling(nn.Module):
    """Features that are small differences of large values, of which bfloat16 keeps nothing."""

    def __init__(self, net: nn.Module, factor: float) -> None:
        super().__init__()
        self.net, self.factor = net, factor

    def forward(self, images):
        features = self.net(images)[-1]
        large = features.to(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else features.dtype)
        return (large + self.factor) - self.factor


def test_plain_networks_agree_in_both_precisions():
    images, masks = batch()
    network = small_network().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert gradient_agreement(network, True, images / 255, masks) > 0.95
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("factor", [1e4, float("nan")])
def test_a_network_that_bfloat16_breaks_is_trained_in_float32(monkeypatch, factor):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    network = small_network()
    assert choose_precision("auto", network, False, batch) == "bf16-mixed"
    network.encoder.net = Canceling(network.encoder.net, factor)
    assert choose_precision("auto", network, False, batch) == "32-true"


def test_what_is_wanted_is_not_probed(monkeypatch):
    def never() -> None:
        pytest.fail("the first batch was read")

    network = small_network()
    assert choose_precision("32", network, False, never) == "32-true"
    assert choose_precision("bf16", network, False, never) == "bf16-mixed"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_precision("auto", network, False, never) == "32-true"


def test_a_batch_without_labels_can_be_probed():
    images, masks = batch()
    assert gradient_agreement(small_network(), False, images / 255, torch.full_like(masks, 255)) > precision.AGREEMENT
