"""Heads, losses and projection against numbers recorded from the published implementation."""

import torch
from PIL import Image

from scaleprotoseg.data.dataset import Sample, SegmentationDataset
from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.inference.nearest_patches import nearest_patches
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.heads.groups import GroupHead, project_to_simplex
from scaleprotoseg.model.heads.prototypes import PrototypeHead
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.prototypes import PrototypeLayer
from scaleprotoseg.training.losses.class_cells import OwnPrototypes
from scaleprotoseg.training.losses.diversity import Diversity
from scaleprotoseg.training.losses.segmentation import cross_entropy
from scaleprotoseg.training.losses.weights import foreign_l1, group_entropy


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
    loss = Diversity(OwnPrototypes(layer.prototype_class, layer.prototype_scale, 5))(distances, golden.labels)
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


class StoredImages(SegmentationDataset):
    """Two images whose pyramid maps are stored; only their masks count."""

    def __init__(self, golden, labels):
        self.name, self.split, self.labels = "stored", "train", labels
        self.masks = golden.labels.to(torch.uint8).repeat_interleave(8, 1).repeat_interleave(8, 2).numpy()

    @property
    def sample_names(self):
        return ["first", "second"]

    def __getitem__(self, index):
        height, width = self.masks[index].shape
        return Sample(self.sample_names[index], Image.new("RGB", (width, height)), self.masks[index])


def test_projection_finds_the_same_patches(golden):
    """The streaming search over the two stored pyramid maps finds the smallest of the stored distances."""
    labels = LabelTable.from_json({"classes": list("abcde")})
    config = NetworkConfig(EncoderConfig("resnet10t", stage=1), PyramidConfig(), HeadConfig(prototypes=3))
    network = Network(config, labels).eval()
    network.replace_head(stage1(golden), [None] * 60)
    maps = iter(golden["stage1.pyramid"])
    network.pyramid_map = lambda _: next(maps)[None]
    nearest = nearest_patches(network, StoredImages(golden, labels))
    found = 0
    for index, label in enumerate(network.head.prototypes.prototype_class.tolist()):
        allowed = golden["stage1.distances"][:, index].masked_fill(golden.labels != label, torch.inf).flatten()
        if allowed.isinf().all():
            assert nearest.image[index, 0] == -1
            continue
        image, cell = divmod(int(allowed.argmin()), golden.labels[0].numel())
        assert (nearest.image[index, 0], nearest.cell[index, 0]) == (image, cell)
        found += 1
    assert found > 30
