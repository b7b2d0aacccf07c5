"""The diversity loss against loops over pairs of prototypes."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scaleprotoseg.training.losses.class_cells import OwnPrototypes
from scaleprotoseg.training.losses.diversity import Diversity


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
    assume(any(counts))
    prototype_scale = torch.tensor(
        [s for s in range(scales) for c in range(classes) for _ in range(counts[s * classes + c])]
    )
    prototype_class = torch.tensor(
        [c for s in range(scales) for c in range(classes) for _ in range(counts[s * classes + c])]
    )
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
