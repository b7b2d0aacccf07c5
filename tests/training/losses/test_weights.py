"""The losses of the head's weights, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from scaleprotoseg.training.losses.weights import foreign_l1, group_entropy


def test_foreign_l1_counts_only_foreign_links():
    classifier = torch.tensor([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]])
    assert foreign_l1(classifier, torch.tensor([0, 1, 1])) == 2 + 3 + 4


def test_group_entropy_by_hand():
    valid = torch.tensor([[True, True, True, True], [True, True, False, False], [True, False, False, False]])
    weights = torch.zeros(3, 1, 4)
    weights[0, 0] = 0.25
    weights[1, 0, :2] = torch.tensor([0.9, 0.1])
    weights[2, 0, 0] = 1
    two = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / math.log(2)
    assert float(group_entropy(weights, valid)) == pytest.approx((1 + two + 0) / 3, abs=1e-4)
