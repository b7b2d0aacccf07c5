"""Our arithmetic against numbers recorded from the published implementation."""

import torch

from scaleprotoseg.model.groups import GroupHead, project_to_simplex
from scaleprotoseg.model.prototypes import PrototypeHead, PrototypeLayer
from scaleprotoseg.training.losses import Diversity, cross_entropy, foreign_l1, group_entropy


def stage1(golden) -> PrototypeHead:
    layer = PrototypeLayer.uniform(num_classes=5, num_scales=4, per_class=3, channels=64)
    layer.vectors.data.copy_(golden.stage1["prototype_vectors"].flatten(1))
    head = PrototypeHead(layer, 5)
    head.classifier.data.copy_(golden.stage1["last_layer.weight"])
    return head


def stage2(golden) -> GroupHead:
    head = GroupHead.over(stage1(golden), 3)
    head.weights.data.copy_(golden["stage2.A"])
    head.classifier.data.copy_(golden["stage2.V"])
    return head


def test_stage1_forward(golden):
    output = stage1(golden)(golden["stage1.pyramid"])
    golden.check(output.distances, "stage1.distances")
    golden.check(output.logits, "stage1.logits")
    assert output.groups is None


def test_stage1_losses(golden):
    head = stage1(golden)
    golden.check(cross_entropy(head(golden["stage1.pyramid"]).logits, golden.labels), "stage1.cross_entropy")
    golden.check(foreign_l1(head.classifier, head.unit_class), "stage1.foreign_l1")


def test_diversity_and_its_gradient(golden):
    layer = stage1(golden).prototypes
    distances = golden["stage1.distances"].clone().requires_grad_()
    loss = Diversity(layer.prototype_class, layer.prototype_scale, 5)(distances, golden.labels)
    loss.backward()
    golden.check(loss, "stage1.diversity")
    golden.check(distances.grad, "stage1.diversity_grad")


def test_stage2_forward(golden):
    output = stage2(golden)(golden["stage1.pyramid"])
    golden.check(output.groups, "stage2.groups")
    golden.check(output.logits, "stage2.logits")


def test_stage2_losses(golden):
    head = stage2(golden)
    golden.check(cross_entropy(head(golden["stage1.pyramid"]).logits, golden.labels), "stage2.cross_entropy")
    golden.check(group_entropy(head.weights, head.valid), "stage2.group_entropy")
    golden.check(foreign_l1(head.classifier, head.unit_class), "stage2.foreign_l1")


def test_simplex_projection(golden):
    golden.check(project_to_simplex(golden["simplex.in"]), "simplex.out")


def test_projection_finds_the_same_patches(golden):
    """Nearest own-class cell of each prototype over the two stored pyramid maps, against a plain search."""
    head = stage1(golden)
    latent = torch.sigmoid(golden["stage1.pyramid"])
    distances = head.prototypes(latent)
    for index in range(60):
        allowed = golden.labels == head.prototypes.prototype_class[index]
        stored = golden["stage1.distances"][:, index].masked_fill(~allowed, torch.inf).flatten()
        ours = distances[:, index].masked_fill(~allowed, torch.inf).flatten()
        assert ours.argmin() == stored.argmin()
