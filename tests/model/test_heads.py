"""Heads against slow, obvious implementations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from scaleprotoseg.model.config import HeadConfig, PyramidConfig
from scaleprotoseg.model.heads.base import PrototypicalHead
from scaleprotoseg.model.heads.direct import DirectHead
from scaleprotoseg.model.heads.groups import GroupHead, class_members, project_to_simplex
from scaleprotoseg.model.heads.linear import LinearHead
from scaleprotoseg.model.heads.prototypes import PrototypeHead
from scaleprotoseg.model.prototypes import EPSILON, PrototypeLayer, similarity

CLASSES, SCALES, WIDTH = 3, 2, 5


def uneven_layer(counts: list[int]) -> PrototypeLayer:
    """``counts[scale * CLASSES + class]`` prototypes each."""
    pairs = [
        (scale, label)
        for scale in range(SCALES)
        for label in range(CLASSES)
        for _ in range(counts[scale * CLASSES + label])
    ]
    scales, classes = (torch.tensor([pair[i] for pair in pairs], dtype=torch.long) for i in range(2))
    return PrototypeLayer(classes, scales, WIDTH, SCALES)


def prototype_head(layer: PrototypeLayer) -> PrototypeHead:
    head = PrototypeHead(layer, CLASSES)
    head.classifier.data.normal_()
    return head


def group_head(layer: PrototypeLayer) -> GroupHead:
    head = GroupHead(layer, CLASSES, groups=2)
    head.classifier.data.normal_()
    return head


def uniform_layer() -> PrototypeLayer:
    torch.manual_seed(0)
    return PrototypeLayer.uniform(CLASSES, SCALES, 2, WIDTH)


def pyramid_map() -> Tensor:
    return torch.randn(2, SCALES * WIDTH, 2, 3)


counts = st.lists(st.integers(0, 3), min_size=CLASSES * SCALES, max_size=CLASSES * SCALES).filter(lambda c: sum(c) > 0)
both_heads = pytest.mark.parametrize("make", [prototype_head, group_head])


@given(counts=counts, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_group_head_by_loops(counts, seed):
    torch.manual_seed(seed)
    head = GroupHead(uneven_layer(counts), CLASSES, groups=2)
    layer = head.prototypes
    pyramid = torch.randn(2, SCALES * WIDTH, 2, 3)
    with torch.no_grad():
        output = head(pyramid)
    latent = pyramid.sigmoid()
    dense = head.unit_weights()
    for b, y, x in [(0, 0, 0), (1, 1, 2)]:
        similarities = []
        for index in range(len(layer)):
            scale = int(layer.prototype_scale[index])
            z = latent[b, scale * WIDTH : (scale + 1) * WIDTH, y, x]
            distance = ((z - layer.vectors[index]) ** 2).sum()
            similarities.append(torch.log((distance + 1) / (distance + EPSILON)))
            assert output.distances[b, index, y, x] == pytest.approx(distance.item(), abs=1e-5)
        for unit in range(2 * CLASSES):
            own = layer.prototype_class == unit // 2
            if own.any():
                assert float(dense[unit].sum()) == pytest.approx(1, abs=1e-5)
            assert (dense[unit][~own] == 0).all()
            group = torch.exp(sum(w * a for w, a in zip(dense[unit], similarities, strict=True)))
            assert output.groups[b, unit, y, x] == pytest.approx(float(group), rel=1e-4)
        for label in range(CLASSES):
            logit = sum(
                (1.0 if unit // 2 == label else -0.5) * float(output.groups[b, unit, y, x])
                for unit in range(2 * CLASSES)
            )
            assert output.logits[b, label, y, x] == pytest.approx(logit, rel=1e-3, abs=1e-3)


@given(counts=counts, seed=st.integers(0, 2**32 - 1), threshold=st.floats(0, 0.6))
@settings(max_examples=15, deadline=None)
def test_pruning_zeroes_small_weights_and_drops_unused_prototypes(counts, seed, threshold):
    torch.manual_seed(seed)
    head = GroupHead(uneven_layer(counts), CLASSES, groups=2)
    before = head.unit_weights()
    pruned, used = head.pruned(threshold)
    expected = before.clone()
    for row in expected:
        row[(row < threshold) & (row < row.max())] = 0
    torch.testing.assert_close(pruned.unit_weights(), expected[:, used])
    assert (expected[:, [i for i in range(len(head.prototypes)) if i not in used.tolist()]] == 0).all()
    assert (pruned.unit_weights() > 0).any(0).all()
    torch.testing.assert_close(pruned.prototypes.vectors, head.prototypes.vectors[used])
    assert len(pruned.prototypes) == len(used)


@given(data=st.data(), counts=counts, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_those_that_stay_take_over_the_weight_of_those_that_go(data, counts, seed):
    torch.manual_seed(seed)
    head = GroupHead(uneven_layer(counts), CLASSES, groups=2)
    keep = sorted(data.draw(st.sets(st.integers(0, len(head.prototypes) - 1), min_size=1)))
    classes = head.prototypes.prototype_class.tolist()
    expected = torch.zeros(2 * CLASSES, len(head.prototypes))
    for unit, row in enumerate(head.unit_weights()):
        left = [index for index in keep if classes[index] == unit // 2]
        total = sum(float(row[index]) for index in left)
        for index in left:
            expected[unit, index] = row[index] / total if total > 0 else 1 / len(left)
    chosen = head.select(torch.tensor(keep))
    torch.testing.assert_close(chosen.unit_weights(), expected[:, keep])
    assert chosen.prototypes.prototype_class.tolist() == [classes[index] for index in keep]
    torch.testing.assert_close(chosen.prototypes.vectors, head.prototypes.vectors[keep])
    assert torch.equal(chosen.classifier, head.classifier)


def test_pruning_keeps_the_scores_when_nothing_is_small():
    head = GroupHead(PrototypeLayer.uniform(CLASSES, SCALES, 2, WIDTH), CLASSES, groups=2)
    pyramid = torch.randn(1, SCALES * WIDTH, 3, 3)
    torch.testing.assert_close(head.pruned(0.0)[0](pyramid).logits, head(pyramid).logits)


def test_merging_duplicates_keeps_the_scores():
    layer = PrototypeLayer.uniform(CLASSES, SCALES, 2, WIDTH)
    head = PrototypeHead(layer, CLASSES)
    head.classifier.data.normal_()
    layer.vectors.data[1] = layer.vectors.data[0]
    keep = [index for index in range(len(layer)) if index != 1]
    into = [0, 0, *range(1, len(layer) - 1)]
    merged = head.merge(torch.tensor(keep), into)
    pyramid = torch.randn(1, SCALES * WIDTH, 3, 3)
    torch.testing.assert_close(merged(pyramid).logits, head(pyramid).logits)
    assert len(merged.prototypes) == len(layer) - 1


@given(
    data=st.data(), counts=counts, seed=st.integers(0, 2**32 - 1), make=st.sampled_from([prototype_head, group_head])
)
@settings(max_examples=40, deadline=None)
def test_no_score_changes_when_equal_prototypes_are_merged(data, counts, seed, make):
    torch.manual_seed(seed)
    layer = uneven_layer(counts)
    kinds = list(zip(layer.prototype_class.tolist(), layer.prototype_scale.tolist(), strict=True))
    same_as: list[int] = []
    for index, kind in enumerate(kinds):
        earlier = [other for other in range(index) if kinds[other] == kind and same_as[other] == other]
        same_as.append(data.draw(st.sampled_from([*earlier, index])))
    layer.vectors.data.copy_(layer.vectors.data[same_as])
    keep = sorted(set(same_as))
    head = make(layer)
    merged = head.merge(torch.tensor(keep), [keep.index(index) for index in same_as])
    latent = torch.rand(2, SCALES * WIDTH, 2, 3, dtype=torch.double)
    logits = [one.double().decide(similarity(one.prototypes(latent))).logits for one in (merged, head)]
    torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)
    assert len(merged.prototypes) == len(keep)
    assert merged.prototypes.prototype_class.tolist() == [kinds[index][0] for index in keep]
    if head.level == "groups":
        torch.testing.assert_close(merged.unit_weights().sum(dim=1), head.unit_weights().sum(dim=1))


@both_heads
def test_scores_are_sums_over_units(make):
    head, similarities = make(uniform_layer()), torch.rand(2, 12, 2, 3)
    units = torch.einsum("up,bpyx->buyx", head.unit_weights(), similarities)
    units = units.exp() if head.level == "groups" else units
    torch.testing.assert_close(head.activations(similarities), units)
    output = head.decide(similarities)
    torch.testing.assert_close(output.logits, torch.einsum("cu,buyx->bcyx", head.classifier, units))
    assert (output.groups is None) == (head.level == "prototypes") == (head.group_weights is None)
    assert output.similarities is similarities and output.distances is None
    assert head.prototypical is head and len(head.unit_class) == units.shape[1] == head.classifier.shape[1]


def test_units_and_their_classes():
    layer = uniform_layer()
    prototypes, groups = prototype_head(layer), group_head(layer)
    assert torch.equal(prototypes.unit_class, layer.prototype_class)
    assert torch.equal(prototypes.unit_weights(), torch.eye(12))
    assert prototypes.level == "prototypes" and prototypes.member_weights() == []
    assert groups.level == "groups" and groups.unit_class.tolist() == [0, 0, 1, 1, 2, 2]
    weights, valid = groups.group_weights
    assert weights is groups.weights and torch.equal(valid, groups.valid)


@torch.no_grad()
def test_member_weights_are_views_of_the_parameter():
    head = group_head(uneven_layer([2, 0, 1, 1, 3, 0]))
    head.weights[0, 1, 0] = 0
    members, dense = head.member_weights(), head.unit_weights()
    places = [(unit, prototype) for unit, prototype, _ in members]
    assert sorted(places) == [tuple(place) for place in dense.nonzero().tolist()] and len(places) > 4
    for unit, prototype, weight in members:
        assert weight.shape == () and weight == dense[unit, prototype]
        weight.fill_(0.125)
        assert head.unit_weights()[unit, prototype] == 0.125
        weight.copy_(dense[unit, prototype])
    assert torch.equal(head.unit_weights(), dense)


@torch.no_grad()
def test_prototypes_in_use_carry_a_weight():
    prototypes, groups = prototype_head(uniform_layer()), group_head(uniform_layer())
    assert prototypes.used_prototypes().tolist() == groups.used_prototypes().tolist() == list(range(12))
    prototypes.classifier[:, 4] = 0
    prototypes.classifier[1:, 5] = 0
    assert prototypes.used_prototypes().tolist() == [index for index in range(12) if index != 4]
    groups.weights[0, :, 1] = 0
    groups.weights[2, 0, 2] = 0
    unused = int(groups.members[0, 1])
    assert groups.used_prototypes().tolist() == [index for index in range(12) if index != unused]


@both_heads
def test_select_keeps_weights_and_order(make):
    head = make(uniform_layer())
    everything = head.select(torch.arange(12))
    pyramid = pyramid_map()
    torch.testing.assert_close(everything(pyramid).logits, head(pyramid).logits)
    keep = torch.tensor([0, 1, 3, 5, 6, 11])
    some = head.select(keep)
    assert type(some) is type(head) and len(some.prototypes) == 6
    assert torch.equal(some.prototypes.vectors, head.prototypes.vectors[keep])
    assert torch.equal(some.prototypes.prototype_scale, head.prototypes.prototype_scale[keep])
    classifier = head.classifier if head.level == "groups" else head.classifier[:, keep]
    assert torch.equal(some.classifier, classifier)
    assert len(head.prototypes) == 12  # not changed


def test_without_groups_nothing_is_pruned():
    head = prototype_head(uniform_layer())
    pruned, kept = head.pruned(0.9)
    assert pruned is head and kept.tolist() == list(range(12))


def test_components_are_the_parameters():
    prototypes, groups = prototype_head(uniform_layer()), group_head(uniform_layer())
    assert list(prototypes.components()) == ["prototypes", "classifier"]
    assert list(groups.components()) == ["prototypes", "classifier", "groups"]
    for head in (prototypes, groups):
        parameters = [parameter for found in head.components().values() for parameter in found]
        assert {id(one) for one in parameters} == {id(one) for one in head.parameters()}
        assert head.components()["prototypes"][0] is head.prototypes.vectors
    assert groups.components()["groups"][0] is groups.weights


@both_heads
@pytest.mark.parametrize("trained", [(), ("classifier", "prototypes"), ("groups",)])
def test_only_trained_group_weights_are_projected(make, trained):
    head = make(uniform_layer())
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter))
    before = {name: value.clone() for name, value in head.state_dict().items()}
    head.constrain_(trained)
    changed = {name for name, value in head.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == ({"weights"} if head.level == "groups" and "groups" in trained else set())
    if changed:
        torch.testing.assert_close(head.unit_weights().sum(dim=1), torch.ones(6))
        assert (head.unit_weights() >= 0).all()


@both_heads
def test_a_head_is_built_from_its_state(make):
    head = make(uniform_layer())
    built = [kind.from_state(uniform_layer(), head.state_dict(), CLASSES) for kind in (PrototypeHead, GroupHead)]
    (again,) = [one for one in built if one is not None]
    assert isinstance(again, PrototypicalHead) and type(again) is type(head)
    again.load_state_dict(head.state_dict())
    pyramid = pyramid_map()
    assert torch.equal(again(pyramid).logits, head(pyramid).logits)


def test_a_direct_head_shows_the_pyramid():
    config = PyramidConfig((1, 2), channels=64, fuse="keep")
    adapted = DirectHead.pyramid_config(config, CLASSES)
    assert (adapted.dilations, adapted.channels, adapted.fuse) == ((1, 2), CLASSES, "sum")
    head = DirectHead.build(HeadConfig("direct"), CLASSES, 1, CLASSES)
    scores = torch.rand(2, CLASSES, 4, 5)
    output = head(scores)
    assert torch.equal(output.logits, scores)
    assert output.groups is output.similarities is output.distances is None
    assert head.components() == {} and head.prototypical is None


def test_a_linear_head_is_a_weighted_sum_of_channels():
    config = PyramidConfig((1, 2), channels=WIDTH)
    assert LinearHead.pyramid_config(config, CLASSES) == config
    head = LinearHead.build(HeadConfig("linear"), CLASSES, SCALES, WIDTH)
    pyramid = pyramid_map()
    weight, bias = head.components()["classifier"]
    expected = torch.einsum("cd,bdyx->bcyx", weight[:, :, 0, 0], pyramid) + bias[:, None, None]
    output = head(pyramid)
    torch.testing.assert_close(output.logits, expected)
    assert output.groups is output.similarities is output.distances is None
    assert list(head.components()) == ["classifier"] and head.prototypical is None
    head.constrain_(["classifier"])
    assert torch.equal(head(pyramid).logits, output.logits)


@given(
    rows=st.lists(st.lists(st.floats(-50, 50), min_size=4, max_size=4), min_size=1, max_size=5),
    allowed=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_simplex_projection_is_the_nearest_point(rows, allowed):
    assume(any(allowed))
    values, valid = torch.tensor(rows, dtype=torch.double), torch.tensor(allowed).expand(len(rows), 4)
    projected = project_to_simplex(values, valid)
    assert (projected >= 0).all() and (projected[~valid] == 0).all()
    torch.testing.assert_close(projected.sum(-1), torch.ones(len(rows), dtype=torch.double))
    # Bisection on the threshold is an independent way to the same point.
    for row, ours in zip(values[:, allowed], projected[:, allowed], strict=True):
        low, high = float(row.min()) - 1, float(row.max())
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if (row - middle).clamp_min(0).sum() > 1 else (low, middle)
        torch.testing.assert_close(ours, (row - low).clamp_min(0), atol=1e-8, rtol=0)


def test_rows_without_valid_entries_are_projected_to_zero():
    assert (project_to_simplex(torch.randn(3, 4), torch.zeros(3, 4, dtype=torch.bool)) == 0).all()


def test_class_members_pads():
    assert class_members(torch.tensor([0, 2, 0]), 3).tolist() == [[0, 2], [-1, -1], [1, -1]]


def test_similarity_of_a_perfect_match_and_far_away():
    values = similarity(torch.tensor([0.0, 1.0, 1e6]))
    assert float(values[0]) == pytest.approx(float(torch.log(torch.tensor(1 / EPSILON))), rel=1e-4)
    assert float(values[1]) == pytest.approx(float(torch.log(torch.tensor(2 / (1 + EPSILON)))), rel=1e-5)
    assert 0 < float(values[2]) < 1e-5


def test_distances_stay_in_float32_under_autocast():
    head = PrototypeHead(PrototypeLayer.uniform(CLASSES, SCALES, 2, WIDTH), CLASSES)
    pyramid = torch.randn(1, SCALES * WIDTH, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        output = head(pyramid)
    assert output.logits.dtype == torch.float32
    torch.testing.assert_close(output.distances, head(pyramid).distances)
