"""The losses of class scores, cell by cell."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from scaleprotoseg.training.losses.segmentation import class_weights, cross_entropy, distillation


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
    assume(sum(pixels) > 0)
    counts = torch.tensor(pixels)
    weights = class_weights(counts, balance).double()
    assert float((weights * counts).sum() / counts.sum()) == pytest.approx(1, rel=1e-4)
    assert all((w == 0) == (n == 0) for w, n in zip(weights.tolist(), pixels, strict=True))
    if balance == 1:
        lifted = (weights * counts)[counts > 0]
        assert float(lifted.max()) == pytest.approx(float(lifted.min()), rel=1e-4)


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
