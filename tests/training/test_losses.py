"""The losses against slow, obvious implementations."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scaleprotoseg.model.groups import class_members, project_to_simplex
from scaleprotoseg.training.losses import (
    Diversity,
    OwnPrototypes,
    Pointing,
    Twins,
    class_weights,
    cross_entropy,
    distillation,
    foreign_l1,
    group_entropy,
    shares_of_cells,
    upsample,
)


def diversity_by_loops(distances, labels, prototype_class, prototype_scale):
    """Mean of exp(-Jeffreys divergence), pair by pair, as the paper writes it."""
    terms = []
    for image, classes in zip(distances, labels, strict=True):
        for label in classes.unique().tolist():
            cells = classes == label
            if label == 255 or cells.sum() < 2:
                continue
            for scale in prototype_scale.unique().tolist():
                own = ((prototype_class == label) & (prototype_scale == scale)).nonzero().flatten().tolist()
                for j, k in itertools.combinations(own, 2):
                    v, w = image[j][cells].softmax(0), image[k][cells].softmax(0)
                    jeffreys = 0.5 * ((v * (v / w).log()).sum() + (w * (w / v).log()).sum())
                    terms.append((-jeffreys).exp())
    return torch.stack(terms).mean() if terms else distances.sum() * 0


@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_diversity_equals_the_loops(data, seed):
    generator = torch.Generator().manual_seed(seed)
    classes, scales = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    counts = [data.draw(st.integers(0, 4)) for _ in range(classes * scales)]
    prototype_scale = torch.tensor(
        [s for s in range(scales) for c in range(classes) for _ in range(counts[s * classes + c])]
    )
    prototype_class = torch.tensor(
        [c for s in range(scales) for c in range(classes) for _ in range(counts[s * classes + c])]
    )
    if not len(prototype_class):
        return
    labels = torch.randint(0, classes + 1, (2, 3, 4), generator=generator)
    labels[labels == classes] = 255
    distances = (
        4 * torch.rand(2, len(prototype_class), 3, 4, generator=generator, dtype=torch.double)
    ).requires_grad_()
    ours = Diversity(OwnPrototypes(prototype_class, prototype_scale, classes))(distances, labels)
    loops = diversity_by_loops(distances, labels, prototype_class, prototype_scale)
    torch.testing.assert_close(ours, loops, rtol=1e-9, atol=1e-12)
    grads = [torch.autograd.grad(loss, distances, retain_graph=True)[0] for loss in (ours, loops)]
    torch.testing.assert_close(*grads, rtol=1e-7, atol=1e-11)


def test_diversity_is_one_for_equal_prototypes_and_falls_when_they_part():
    prototype_class, prototype_scale = torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long)
    loss = Diversity(OwnPrototypes(prototype_class, prototype_scale, 1))
    labels = torch.zeros(1, 1, 4, dtype=torch.long)
    same = torch.tensor([1.0, 2, 3, 4]).expand(1, 2, 1, 4)
    apart = torch.stack([torch.tensor([9.0, 0, 0, 0]), torch.tensor([0.0, 0, 0, 9])]).view(1, 2, 1, 4)
    assert loss(same, labels) == pytest.approx(1)
    assert loss(apart, labels) < 0.01


def twins_by_loops(similarities, twin, labels, prototype_class, prototype_scale):
    """Both losses, pair by pair, with correlations from their definition."""
    same, between = [], []
    for one, other, classes in zip(similarities, twin, labels, strict=True):
        for label in classes.unique().tolist():
            cells = classes == label
            if label == 255 or cells.sum() < 6:
                continue

            def correlation(j, k, one=one, other=other, cells=cells):
                a, b = (values - values.mean() for values in (one[j][cells], other[k][cells]))
                return (a * b).mean() / ((a.square().mean() + 1e-4) * (b.square().mean() + 1e-4)).sqrt()

            for scale in prototype_scale.unique().tolist():
                own = ((prototype_class == label) & (prototype_scale == scale)).nonzero().flatten().tolist()
                same += [1 - correlation(j, j) for j in own]
                pairs = itertools.combinations(own, 2)
                between += [((correlation(j, k) + correlation(k, j)) / 2).clamp_min(0) for j, k in pairs]
    nothing = (similarities.sum() + twin.sum()) * 0
    return tuple(nothing + (torch.stack(terms).mean() if terms else 0) for terms in (same, between))


@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_twins_equal_the_loops(data, seed):
    generator = torch.Generator().manual_seed(seed)
    classes, scales = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    counts = [data.draw(st.integers(0, 3)) for _ in range(classes * scales)]
    kinds = [(s, c) for s in range(scales) for c in range(classes) for _ in range(counts[s * classes + c])]
    if not kinds:
        return
    prototype_scale, prototype_class = torch.tensor(kinds).T
    labels = torch.randint(0, classes + 1, (2, 4, 5), generator=generator)
    labels[labels == classes] = 255
    maps = torch.rand(2, 2, len(kinds), 4, 5, generator=generator, dtype=torch.double)
    one, other = (values.requires_grad_() for values in maps)
    ours = Twins(OwnPrototypes(prototype_class, prototype_scale, classes))(one, other, labels)
    loops = twins_by_loops(one, other, labels, prototype_class, prototype_scale)
    for mine, theirs in zip(ours, loops, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)
    grads = [torch.autograd.grad(sum(losses), (one, other), retain_graph=True) for losses in (ours, loops)]
    torch.testing.assert_close(*grads, rtol=1e-7, atol=1e-11)


def test_twins_are_happy_with_different_prototypes_that_noise_does_not_move():
    kinds = torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long)
    loss, labels = Twins(OwnPrototypes(*kinds, 1)), torch.zeros(1, 1, 8, dtype=torch.long)
    ramp = torch.arange(8.0)
    apart = torch.stack([ramp, -ramp]).view(1, 2, 1, 8)
    alike = torch.stack([ramp, ramp]).view(1, 2, 1, 8)
    assert [float(value) for value in loss(apart, apart, labels)] == pytest.approx([0, 0], abs=1e-4)
    assert [float(value) for value in loss(alike, alike, labels)] == pytest.approx([0, 1], abs=1e-4)
    assert float(loss(apart, -apart, labels)[0]) == pytest.approx(2, abs=1e-4)


def pointing_by_loops(similarities, parts, labels, prototype_class, part_of):
    """One minus the correlation of each prototype with its part, picture by picture and pixel by pixel."""
    terms = []
    rows, columns = labels.shape[1:]
    for image, shown, classes in zip(similarities, parts.tolist(), labels, strict=True):
        tall, wide = len(shown) / rows, len(shown[0]) / columns
        for values, label, part in zip(image, prototype_class.tolist(), part_of.tolist(), strict=True):
            share = torch.zeros_like(values)
            for y, line in enumerate(shown):
                for x, here in enumerate(line):
                    share[int(y / tall), int(x / wide)] += (here == part != 0) / (tall * wide)
            cells = classes == label
            if cells.sum() >= 6 and share[cells].sum() > 0:
                a, b = (maps[cells] - maps[cells].mean() for maps in (values, share))
                terms.append(1 - (a * b).mean() / ((a.square().mean() + 1e-4) * (b.square().mean() + 1e-4)).sqrt())
    return torch.stack(terms).mean() if terms else similarities.sum() * 0


@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_pointing_equals_the_loops(data, seed):
    generator = torch.Generator().manual_seed(seed)
    kinds = data.draw(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 3)), min_size=1))
    prototype_scale, prototype_class, part_of = torch.tensor(kinds).T
    labels = torch.randint(0, 4, (2, 4, 5), generator=generator)
    labels[labels == 3] = 255
    parts = torch.randint(0, 6, (2, 12, 10), generator=generator, dtype=torch.uint8)
    parts[:, data.draw(st.integers(0, 12)) :] = 0
    maps = torch.rand(2, len(kinds), 4, 5, generator=generator, dtype=torch.double).requires_grad_()
    ours = Pointing(OwnPrototypes(prototype_class, prototype_scale, 3), part_of)(maps, parts, labels)
    loops = pointing_by_loops(maps, parts, labels, prototype_class, part_of)
    torch.testing.assert_close(ours, loops, rtol=1e-6, atol=1e-7)
    grads = [torch.autograd.grad(loss, maps, retain_graph=True)[0] for loss in (ours, loops)]
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-7)


def test_pointing_is_happy_with_prototypes_on_their_parts():
    kinds, labels = torch.zeros(2, dtype=torch.long), torch.zeros(1, 2, 4, dtype=torch.long)
    loss = Pointing(OwnPrototypes(kinds, kinds, 1), torch.tensor([1, 2]))
    parts = torch.tensor([[[0, 1, 1, 1], [2, 2, 2, 0]]], dtype=torch.uint8)
    on = torch.stack([parts == 1, parts == 2], 1).float()
    assert float(loss(on, parts, labels)) == pytest.approx(0, abs=1e-3)
    assert float(loss(-on, parts, labels)) == pytest.approx(2, abs=1e-3)
    assert float(loss(on, torch.zeros_like(parts), labels)) == 0


@pytest.mark.parametrize("weight", [1.0, 100.0])
def test_where_nothing_counts_nothing_is_learnt(weight):
    own = OwnPrototypes(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), 1)
    maps, cells = torch.rand(1, 1, 2, 2, requires_grad=True), torch.zeros(1, 2, 2, dtype=torch.uint8)
    losses = [
        Diversity(own)(maps, cells),
        *Twins(own)(maps, maps.detach(), cells),
        Pointing(own, torch.tensor([1]))(maps, cells, cells),
        cross_entropy(maps, cells.fill_(255)),
    ]
    (weight * torch.stack(losses)).sum().backward()
    assert not any(losses) and torch.equal(maps.grad, torch.zeros_like(maps))


@pytest.mark.parametrize("size", [(2, 2), (3, 5), (4, 6), (7, 11)])
def test_shares_of_parts_add_up_to_their_pixels(size):
    parts = torch.randint(0, 9, (2, 7, 11), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    shares = shares_of_cells(parts, 6, size)
    assert shares.shape == (2, 7, *size) and not shares[:, 0].any()
    for part in range(1, 7):
        pixels = shares[:, part].sum(dim=(1, 2)) * 77 / (size[0] * size[1])
        torch.testing.assert_close(pixels, (parts == part).sum(dim=(1, 2)).float())


def test_cross_entropy_ignores_void_and_resizes_labels():
    logits = torch.randn(2, 3, 4, 5)
    mask = torch.randint(0, 3, (2, 4, 5))
    mask[:, :2] = 255
    log_p = logits.log_softmax(1)
    picked = [-log_p[b, mask[b, y, x], y, x] for b in range(2) for y in range(2, 4) for x in range(5)]
    torch.testing.assert_close(cross_entropy(logits, mask), torch.stack(picked).mean())
    large = mask.repeat_interleave(3, 1).repeat_interleave(3, 2)
    torch.testing.assert_close(cross_entropy(logits, large), cross_entropy(logits, mask))


def test_cross_entropy_of_void_alone_is_zero():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = cross_entropy(logits, torch.full((1, 2, 2), 255))
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_weighted_cross_entropy_is_the_weighted_mean():
    logits, mask = torch.randn(1, 3, 1, 6), torch.tensor([[[0, 0, 0, 1, 2, 255]]])
    weights = torch.tensor([0.5, 2.0, 4.0])
    expected = torch.nn.functional.cross_entropy(logits, mask, weights, ignore_index=255)
    torch.testing.assert_close(cross_entropy(logits, mask, weights), expected)


@given(pixels=st.lists(st.integers(0, 10**9), min_size=1, max_size=20), balance=st.floats(0, 1))
def test_class_weights(pixels, balance):
    if sum(pixels) == 0:
        return
    counts = torch.tensor(pixels)
    weights = class_weights(counts, balance).double()
    assert float((weights * counts).sum() / counts.sum()) == pytest.approx(1, rel=1e-4)
    assert all((w == 0) == (n == 0) for w, n in zip(weights.tolist(), pixels, strict=True))
    if balance == 1:
        lifted = (weights * counts)[counts > 0]
        assert float(lifted.max()) == pytest.approx(float(lifted.min()), rel=1e-4)


@given(st.tuples(*[st.integers(1, 7)] * 2), st.tuples(*[st.integers(1, 40)] * 2))
@settings(max_examples=30, deadline=None)
def test_upsampling_is_that_of_interpolate(old, new):
    maps = torch.rand(2, 3, *old)
    expected = torch.nn.functional.interpolate(maps, size=new, mode="bilinear", align_corners=False)
    torch.testing.assert_close(upsample(maps, new), expected, rtol=1e-5, atol=1e-5)


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


@given(
    rows=st.lists(st.lists(st.floats(-50, 50), min_size=4, max_size=4), min_size=1, max_size=5),
    allowed=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_simplex_projection_is_the_nearest_point(rows, allowed):
    values, valid = torch.tensor(rows, dtype=torch.double), torch.tensor(allowed).expand(len(rows), 4)
    projected = project_to_simplex(values, valid)
    if not any(allowed):
        assert (projected == 0).all()
        return
    assert (projected >= 0).all() and (projected[~valid] == 0).all()
    torch.testing.assert_close(projected.sum(-1), torch.ones(len(rows), dtype=torch.double))
    # Bisection on the threshold is an independent way to the same point.
    for row, ours in zip(values[:, allowed], projected[:, allowed], strict=True):
        low, high = float(row.min()) - 1, float(row.max())
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if (row - middle).clamp_min(0).sum() > 1 else (low, middle)
        torch.testing.assert_close(ours, (row - low).clamp_min(0), atol=1e-8, rtol=0)


def test_class_members_pads():
    assert class_members(torch.tensor([0, 2, 0]), 3).tolist() == [[0, 2], [-1, -1], [1, -1]]


def test_distillation_is_the_divergence_from_the_teacher_cell_by_cell():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(2, 4, 3, 5, generator=generator, dtype=torch.double) for _ in range(2))
    terms = []
    for one, other in zip(student.movedim(1, 3).reshape(-1, 4), teacher.movedim(1, 3).reshape(-1, 4), strict=True):
        p, q = (values.softmax(0).tolist() for values in (other, one))
        terms.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    assert float(distillation(student, teacher)) == pytest.approx(sum(terms) / len(terms), rel=1e-5)
    assert float(distillation(teacher, teacher)) == pytest.approx(0, abs=1e-6)
    coarse = torch.zeros(2, 4, 1, 1)
    coarse[:, 1] = 50.0
    sure = -student.log_softmax(1)[:, 1].mean()
    assert float(distillation(student, coarse)) == pytest.approx(float(sure), rel=1e-5)
