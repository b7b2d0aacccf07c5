"""Invariance and redundancy under noise against loops over pairs of prototypes."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scaleprotoseg.training.losses.class_cells import OwnPrototypes
from scaleprotoseg.training.losses.noise_consistency import NoiseConsistency


def noise_consistency_by_loops(similarities, noisy, labels, prototype_class, prototype_scale):
    """Both losses, pair by pair, with correlations from their definition."""
    same, between = [], []
    for one, other, classes in zip(similarities, noisy, labels, strict=True):
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
    nothing = (similarities.sum() + noisy.sum()) * 0
    return tuple(nothing + (torch.stack(terms).mean() if terms else 0) for terms in (same, between))


@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_noise_consistency_equals_the_loops(data, seed):
    generator = torch.Generator().manual_seed(seed)
    classes, scales = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    counts = [data.draw(st.integers(0, 3)) for _ in range(classes * scales)]
    kinds = [(s, c) for s in range(scales) for c in range(classes) for _ in range(counts[s * classes + c])]
    assume(kinds)
    prototype_scale, prototype_class = torch.tensor(kinds).T
    labels = torch.randint(0, classes + 1, (2, 4, 5), generator=generator)
    labels[labels == classes] = 255
    maps = torch.rand(2, 2, len(kinds), 4, 5, generator=generator, dtype=torch.double)
    one, other = (values.requires_grad_() for values in maps)
    ours = NoiseConsistency(OwnPrototypes(prototype_class, prototype_scale, classes))(one, other, labels)
    loops = noise_consistency_by_loops(one, other, labels, prototype_class, prototype_scale)
    for mine, theirs in zip(ours, loops, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)
    grads = [torch.autograd.grad(sum(losses), (one, other), retain_graph=True) for losses in (ours, loops)]
    torch.testing.assert_close(*grads, rtol=1e-7, atol=1e-11)


def test_different_prototypes_that_noise_does_not_change_have_no_loss():
    kinds = torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long)
    loss, labels = NoiseConsistency(OwnPrototypes(*kinds, 1)), torch.zeros(1, 1, 8, dtype=torch.long)
    ramp = torch.arange(8.0)
    apart = torch.stack([ramp, -ramp]).view(1, 2, 1, 8)
    alike = torch.stack([ramp, ramp]).view(1, 2, 1, 8)
    assert [float(value) for value in loss(apart, apart, labels)] == pytest.approx([0, 0], abs=1e-4)
    assert [float(value) for value in loss(alike, alike, labels)] == pytest.approx([0, 1], abs=1e-4)
    assert float(loss(apart, -apart, labels)[0]) == pytest.approx(2, abs=1e-4)
