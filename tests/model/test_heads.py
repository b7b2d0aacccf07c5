"""Prototypes and groups against slow, obvious implementations."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scaleprotoseg.model.groups import GroupHead
from scaleprotoseg.model.prototypes import EPSILON, PrototypeHead, PrototypeLayer, similarity

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


counts = st.lists(st.integers(0, 3), min_size=CLASSES * SCALES, max_size=CLASSES * SCALES).filter(lambda c: sum(c) > 0)


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
    dense = head.dense_weights()
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
    before = head.dense_weights()
    pruned, used = head.pruned(threshold)
    expected = before.clone()
    for row in expected:
        row[(row < threshold) & (row < row.max())] = 0
    torch.testing.assert_close(pruned.dense_weights(), expected[:, used])
    assert (expected[:, [i for i in range(len(head.prototypes)) if i not in used.tolist()]] == 0).all()
    assert (pruned.dense_weights() > 0).any(0).all()
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
    for unit, row in enumerate(head.dense_weights()):
        left = [index for index in keep if classes[index] == unit // 2]
        total = sum(float(row[index]) for index in left)
        for index in left:
            expected[unit, index] = row[index] / total if total > 0 else 1 / len(left)
    chosen = head.select(torch.tensor(keep))
    torch.testing.assert_close(chosen.dense_weights(), expected[:, keep])
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
