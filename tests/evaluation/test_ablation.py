"""Removing units and members, against computing every cell again from the numbers of the explanation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scaleprotoseg.data.labels import VOID, LabelTable
from scaleprotoseg.evaluation.ablation import Ablation, ablate, rank_correlation
from scaleprotoseg.explanation.explanation import explain
from scaleprotoseg.inference.units import units_of
from scaleprotoseg.model.heads.groups import GroupHead
from scaleprotoseg.model.heads.prototypes import PrototypeHead
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.output import Output
from tests.builders.encoders import Patches
from tests.builders.images import Given, Toys, sample_of
from tests.builders.networks import grouped_network, patch_network, small_network
from tests.builders.processes import in_two


def scores_of(similarities, weights, classifier, grouped):
    """Scores of one cell from its similarities."""
    units = [math.exp(sum(w * a for w, a in zip(row, similarities, strict=True))) for row in weights]
    units = units if grouped else similarities
    return [sum(v * g for v, g in zip(row, units, strict=True)) for row in classifier], units


def best_two(scores):
    order = sorted(range(len(scores)), key=lambda label: (-scores[label], label))
    return order[0], order[1]


def slow_ablation(network, dataset):
    """{unit or (group, prototype): (fraction of flips, mean credit)} by loops over cells."""
    flips, credit, cells = {}, {}, 0
    for index in range(len(dataset)):
        sample = dataset[index]
        terms = explain(network, sample.image)
        weights, classifier = terms.weights.tolist(), terms.classifier.tolist()
        members = [(u, p) for u, row in enumerate(weights) for p, w in enumerate(row) if w and terms.grouped]
        units = (
            range(len(weights)) if terms.grouped else [u for u in range(len(weights)) if any(r[u] for r in classifier)]
        )
        (height, width), (rows, columns) = sample.mask.shape, terms.logits.shape[1:]
        for row in range(rows):
            for column in range(columns):
                if sample.mask[int((row + 0.5) * height / rows), int((column + 0.5) * width / columns)] == VOID:
                    continue
                cells += 1
                similarities = terms.similarities[:, row, column].tolist()
                scores, activations = scores_of(similarities, weights, classifier, terms.grouped)
                np.testing.assert_allclose(scores, terms.logits[:, row, column], rtol=1e-9)
                best, second = best_two(scores)
                for unit in units:
                    others = [[0 if u == unit else v for u, v in enumerate(line)] for line in classifier]
                    left, _ = scores_of(similarities, weights, others, terms.grouped)
                    pull = (classifier[best][unit] - classifier[second][unit]) * activations[unit]
                    flips[unit] = flips.get(unit, 0) + (best_two(left)[0] != best)
                    credit[unit] = credit.get(unit, 0) + abs(pull)
                for group, member in members:
                    others = [
                        [0 if (u, p) == (group, member) else w for p, w in enumerate(r)] for u, r in enumerate(weights)
                    ]
                    left, fewer = scores_of(similarities, others, classifier, True)
                    np.testing.assert_allclose(
                        math.log(activations[group]) - math.log(fewer[group]),
                        weights[group][member] * similarities[member], atol=1e-9,
                    )  # fmt: skip
                    pull = (classifier[best][group] - classifier[second][group]) * (activations[group] - fewer[group])
                    key = group, member
                    flips[key] = flips.get(key, 0) + (best_two(left)[0] != best)
                    credit[key] = credit.get(key, 0) + abs(pull)
    return {key: (flips[key] / cells, credit[key] / cells) for key in flips}


def assert_ablation(found: Ablation, expected: list[tuple[float, float]]):
    np.testing.assert_allclose(found.flips, [flips for flips, _ in expected])
    np.testing.assert_allclose(found.credit, [credit for _, credit in expected], rtol=1e-6)
    assert 0 < found.flips.max() < 1 and found.error < 1e-9
    assert found.agreement == pytest.approx(slow_correlation(found.flips.tolist(), found.credit.tolist()))


def test_groups_and_members_by_loops():
    network, dataset = grouped_network(), Toys(2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    groups, members = ablate(network, dataset)
    expected = slow_ablation(network, dataset)
    assert_ablation(groups, [expected[group] for group in range(6)])
    pairs = [(group, prototype) for group, prototype, _ in network.head.member_weights()]
    assert sorted(pairs) == sorted(key for key in expected if isinstance(key, tuple))
    assert_ablation(members, [expected[pair] for pair in pairs])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_prototypes_in_use_by_loops():
    network, dataset = patch_network(Patches(), 6), Toys(2)
    with torch.no_grad():
        network.head.classifier.normal_()
        network.head.classifier[:, 3] = 0
    prototypes, members = ablate(network, dataset)
    expected = slow_ablation(network, dataset)
    assert members is None and 3 not in expected
    assert_ablation(prototypes, [expected[index] for index in units_of(network)[0].index.tolist()])


class Squared(PrototypeHead):
    """Class scores that the explanation does not account for."""

    def decide(self, similarities, distances=None) -> Output:
        output = super().decide(similarities, distances)
        return output._replace(logits=output.logits.square())


class Mixing(GroupHead):
    """Groups that are not geometric means."""

    def activations(self, similarities):
        return super().activations(similarities).log() ** 2 + 1


def test_a_head_that_does_not_decide_as_it_explains_is_found_out():
    network, dataset = small_network(), Toys(3)
    network.head.__class__ = Squared
    error = ablate(network, dataset)[0].error
    assert error > 0.1
    assert error == max(ablate(network, Given([dataset[index]]))[0].error for index in range(3))
    network = grouped_network()
    network.head.__class__ = Mixing
    groups, members = ablate(network, Toys(1))
    assert groups.error < 1e-9 and members.error > 0.1


def test_a_group_that_no_class_uses_flips_nothing():
    network = grouped_network()
    with torch.no_grad():
        network.head.classifier[:, 2] = 0
    groups, _ = ablate(network, Toys(2))
    assert groups.flips[2] == groups.credit[2] == 0 and groups.error < 1e-9


def test_without_labeled_cells_nothing_is_known():
    groups, members = ablate(grouped_network(), Given([sample_of(np.full((40, 48), VOID, np.uint8))]))
    for found in (groups, members):
        assert np.isnan(found.flips).all() and np.isnan(found.credit).all() and found.agreement is None


def test_one_class_alone_is_never_flipped():
    labels = LabelTable.from_json({"classes": ["ground"]})
    network = Network(small_network().config, labels).eval()
    dataset = Given([replace(sample_of(np.zeros((40, 48), np.uint8)))])
    found, _ = ablate(network, dataset)
    assert found.flips.tolist() == found.credit.tolist() == [0] * 4 and found.agreement is None


def ranks(values):
    """Mean rank of each value among all."""
    return [sum(v < value for v in values) + (sum(v == value for v in values) - 1) / 2 for value in values]


def slow_correlation(first, second):
    a, b = np.array(ranks(first)), np.array(ranks(second))
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / math.sqrt((a**2).sum() * (b**2).sum()))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=9))
def test_rank_correlation_by_ranks(pairs):
    first, second = ([float(pair[place]) for pair in pairs] for place in (0, 1))
    found = rank_correlation(np.array(first), np.array(second))
    if len(pairs) < 3 or len(set(first)) == 1 or len(set(second)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(slow_correlation(first, second))


def test_two_processes_measure_the_same(monkeypatch):
    network = grouped_network()
    alone = ablate(network, Toys(3))
    for shared in in_two(monkeypatch, lambda: ablate(network, Toys(3))):
        for one, other in zip(alone, shared, strict=True):
            np.testing.assert_allclose(one.flips, other.flips)
            np.testing.assert_allclose(one.credit, other.credit)
            assert one.error == pytest.approx(other.error) and one.agreement == pytest.approx(other.agreement)
