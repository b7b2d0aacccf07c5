"""A small network with everything that a page shows: random weights, random images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from scaleprotoseg.data.dataset import Sample
from scaleprotoseg.data.labels import VOID, LabelTable
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.heads.groups import GroupHead
from scaleprotoseg.model.heads.prototypes import PrototypeHead
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.source import Source, context_window, crop_png, patch_box

HOSTILE = ("<script>alert(1)</script>", "\"&'</style><img src=x onerror=alert(2)>", "{{ 7 * 7 }}", "plain")
FILE = "</script><script>alert(3)</script>&\"'.png"
DILATIONS = (1, 2, 3)
SIZE = (92, 70)


def drawn(seed: int = 0, size: tuple[int, int] = SIZE) -> Image.Image:
    """A colorful image with large shapes and noise."""
    rng = np.random.default_rng(seed)
    shapes = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)).resize(size, Image.Resampling.NEAREST)
    noise = rng.integers(-12, 12, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(shapes).astype(int) + noise).clip(0, 255).astype(np.uint8))


def table(names: Sequence[str] = HOSTILE) -> LabelTable:
    return LabelTable.from_json({"classes": list(names)})


def source(seed: int, dilation: int) -> Source:
    image, cell = drawn(seed, (160, 120)), (5 + seed % 5, 6 + seed % 7)
    box = patch_box(cell, (15, 20), image.size, dilation)
    window = context_window(box, image.size)
    return Source(FILE, image.size, cell, box, window, 0.25, crop_png(image, window))


def network(grouped: bool = True, black_box: bool = False) -> Network:
    """Four classes with hostile names, three scales, two prototypes per class and scale, one without a source."""
    torch.manual_seed(0)
    config = NetworkConfig(
        EncoderConfig("resnet10t", stage=2),
        PyramidConfig(DILATIONS, channels=16),
        HeadConfig("linear") if black_box else HeadConfig("prototypes", prototypes=2),
    )
    model = Network(config, table(), "protoseg" if not grouped else "scaleprotoseg").eval()
    if black_box:
        return model
    assert isinstance(model.head, PrototypeHead)
    layer = model.head.prototypes
    with torch.inference_mode():
        pixels = torch.from_numpy(np.array(drawn())).permute(2, 0, 1)[None] / 255
        maps = torch.sigmoid(model.pyramid_map((pixels - model.mean) / model.std))[0].flatten(1)
    for index, scale in enumerate(layer.prototype_scale.tolist()):
        cell = torch.randint(maps.shape[1], ())
        layer.vectors.data[index] = maps[16 * scale : 16 * (scale + 1), cell] + 0.05 * torch.randn(16)
    sources = [source(index, DILATIONS[scale]) for index, scale in enumerate(layer.prototype_scale.tolist())]
    head: PrototypeHead | GroupHead = model.head
    if grouped:
        head, kept = GroupHead.over(model.head, 2).pruned(0.2)
        sources = [sources[index] for index in kept.tolist()]
    head.classifier.data += 0.1 * torch.randn_like(head.classifier)
    head.classifier.data[0, -1] = 0
    model.replace_head(head, [None, *sources[1:]])
    return model


def sample(name: str = FILE, seed: int = 0, labeled: bool = True) -> Sample:
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 4, SIZE[::-1]).astype(np.uint8)
    mask[:5] = VOID
    return Sample(name, drawn(seed), mask if labeled else None)
