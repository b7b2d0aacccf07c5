"""Prototypes and members in use are counted."""

from __future__ import annotations

import pytest

from scaleprotoseg.evaluation.sparsity import Sparsity, sparsity
from scaleprotoseg.model.heads.groups import GroupHead
from tests.builders.networks import black_box, small_network


def test_sparsity_counts():
    network = small_network()
    assert sparsity(network) == Sparsity(12, 12, None, 4.0)
    head = GroupHead.over(network.head, 2)
    head.weights.data.zero_()
    head.weights.data[0, 0, 0] = 1
    head.weights.data[1, 1, :3] = 0.3
    network.replace_head(head, network.sources)
    assert sparsity(network) == Sparsity(4, 12, pytest.approx(4 / 6), pytest.approx(4 / 3))
    assert sparsity(black_box()) == Sparsity(None, None, None, None)
