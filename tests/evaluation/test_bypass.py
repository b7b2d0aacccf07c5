"""The explained variance is 1 for scores that come from prototypes alone, and less for all others."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scaleprotoseg.evaluation.bypass import explained_variance
from scaleprotoseg.inference.tiles import to_tensor
from scaleprotoseg.model.heads.groups import GroupHead
from scaleprotoseg.model.heads.prototypes import PrototypeHead
from tests.builders.encoders import Patches
from tests.builders.images import Toys
from tests.builders.networks import grouped_network, patch_network
from tests.builders.processes import in_two


class Past(PrototypeHead):
    """A head that adds a convolution of the pyramid to the scores."""

    def forward(self, pyramid):
        output = super().forward(pyramid)
        weights = torch.randn(len(self.classifier), pyramid.shape[1], 1, 1, generator=torch.Generator().manual_seed(0))
        return output._replace(logits=output.logits + 0.5 * F.conv2d(pyramid, weights))


class Biased(GroupHead):
    """A head that prefers one class everywhere."""

    def forward(self, pyramid):
        output = super().forward(pyramid)
        return output._replace(logits=output.logits + torch.tensor([0.0, 1.0, 0.0])[:, None, None])


def plain_network():
    return patch_network(Patches(), 6)


def pruned_network():
    network = grouped_network()
    head, used = network.head.pruned(0.2)
    network.replace_head(head, [None] * len(used))
    return network


@pytest.mark.parametrize("build", [plain_network, grouped_network, pruned_network])
def test_our_heads_decide_by_their_prototypes_alone(build):
    assert explained_variance(build(), Toys(3)) == pytest.approx(1, abs=1e-9)


@torch.no_grad()
@pytest.mark.parametrize(("build", "head"), [(plain_network, Past), (grouped_network, Biased)])
def test_a_bypass_is_found_out(build, head):
    network, dataset = build(), Toys(3)
    plain = build().head
    network.head.__class__ = head
    scores, missing = [], []
    for index in range(3):
        pyramid = network.pyramid_map(to_tensor(dataset[index].image, network.config.input)[None])
        scores.append(network.head(pyramid).logits.double().flatten())
        missing.append(scores[-1] - plain(pyramid).logits.double().flatten())
    expected = 1 - np.var(torch.cat(missing).numpy()) / np.var(torch.cat(scores).numpy())
    found = explained_variance(network, dataset)
    assert found == pytest.approx(expected, abs=1e-4) and found < 0.97


def test_prototypes_that_are_said_to_be_unused_are_left_out():
    """A head that uses a prototype without a weight."""

    class Secret(PrototypeHead):
        def decide(self, similarities, distances=None):
            output = super().decide(similarities, distances)
            return output._replace(
                logits=output.logits + similarities[:, :1] * torch.tensor([3.0, 0, 0])[:, None, None]
            )

    network = plain_network()
    network.head.classifier.data[:, 0] = 0
    assert explained_variance(network, Toys(2)) == pytest.approx(1, abs=1e-9)
    network.head.__class__ = Secret
    assert explained_variance(network, Toys(2)) < 0.97


def test_scores_that_do_not_vary_have_no_variance_to_explain():
    network = plain_network()
    network.head.classifier.data.zero_()
    assert explained_variance(network, Toys(1)) is None


def test_two_processes_measure_the_same(monkeypatch):
    network = plain_network()
    network.head.__class__ = Past
    alone = explained_variance(network, Toys(3))
    assert in_two(monkeypatch, lambda: explained_variance(network, Toys(3))) == [pytest.approx(alone)] * 2
