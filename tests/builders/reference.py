"""Slow, obvious implementations that several tests compare with."""

from __future__ import annotations

from functools import cache
from math import floor

import numpy as np
import torch
from torch import Tensor

from scaleprotoseg.data.dataset import Sample, SegmentationDataset
from scaleprotoseg.inference.part_options import PartOptions
from scaleprotoseg.inference.tiles import to_tensor
from scaleprotoseg.inference.units import ROUNDING
from scaleprotoseg.model.network import Network

Pixels = list[tuple[int, int]]


@torch.no_grad()
def all_patches(network: Network, dataset: SegmentationDataset) -> list[tuple[int, int, int, Tensor, Tensor]]:
    """(image, cell, label, distances (P,), latent (S, D)) of every cell, one by one."""
    layer, patches = network.prototypes, []
    for image in range(len(dataset)):
        sample = dataset[image]
        tensor = to_tensor(sample.image, network.config.input)[None]
        latent = torch.sigmoid(network.pyramid_map(tensor))[0]
        _, rows, columns = latent.shape
        height, width = sample.mask.shape
        for cell in range(rows * columns):
            row, column = divmod(cell, columns)
            label = int(sample.mask[int((row + 0.5) * height / rows), int((column + 0.5) * width / columns)])
            z = latent[:, row, column].reshape(layer.num_scales, -1)
            d = ((z[layer.prototype_scale] - layer.vectors) ** 2).sum(1)
            patches.append((image, cell, label, d, z))
    return patches


def latents_at_sources(network: Network, dataset: SegmentationDataset) -> Tensor:
    """(P, D) latent vector of each prototype's training patch, from the whole pyramid map of its image."""
    names, latents = dataset.sample_names, []
    for source, scale in zip(network.sources, network.prototypes.prototype_scale.tolist(), strict=True):
        image = torch.tensor(list(dataset[names.index(source.image)].image.tobytes())).view(1, 40, 48, 3) / 255
        maps = torch.sigmoid(network.pyramid_map(image.permute(0, 3, 1, 2)))
        latents.append(maps.chunk(network.pyramid.num_scales, dim=1)[scale][0, :, source.cell[0], source.cell[1]])
    return torch.stack(latents)


def components_of(region: np.ndarray) -> list[Pixels]:
    """Lists of the pixels (y, x) that touch, also at corners, found by walking."""
    return _components(region.tobytes(), region.shape)


@cache
def _components(region: bytes, shape: tuple[int, int]) -> list[Pixels]:
    left = {(y, x) for y, x in np.argwhere(np.frombuffer(region, bool).reshape(shape)).tolist()}
    components = []
    while left:
        component, edge = [], [left.pop()]
        while edge:
            y, x = edge.pop()
            component.append((y, x))
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            edge += near
        components.append(component)
    return components


def centroid_of(component: Pixels) -> tuple[int, int]:
    """The pixel that contains the mean of the centers of a component's pixels."""
    y, x = (floor(sum(pixel[axis] + 0.5 for pixel in component) / len(component)) for axis in (0, 1))
    return y, x


def slow_hits(
    sample: Sample, activation: Tensor, label: int, part_class: list[int], options: PartOptions
) -> dict[int, bool]:
    """For each part that a sample shows of a class, True if a unit of the class with this activation map hits it."""
    size = sample.mask.shape
    values = torch.nn.functional.interpolate(activation[None, None], size, mode="bilinear")[0, 0].tolist()
    pixels = [(y, x) for y in range(size[0]) for x in range(size[1]) if sample.mask[y, x] == label]
    if not pixels:
        return {}
    least = float(np.quantile([values[y][x] for y, x in pixels], options.quantile))
    on = {(y, x) for y, x in pixels if values[y][x] > least + ROUNDING * abs(least)}
    hits = {}
    if sample.parts is None:
        for point in sample.keypoints or ():
            if part_class[point.part - 1] == label:
                near = any((y + 0.5 - point.y) ** 2 + (x + 0.5 - point.x) ** 2 <= options.radius**2 for y, x in on)
                under = (int(point.y), int(point.x)) in on
                hits[point.part] = hits.get(point.part, False) or near or under
        return hits
    for part, owner in enumerate(part_class, start=1):
        region = (sample.parts == part) & (sample.mask == label)
        if owner == label and region.any():
            if options.hit == "centroid":
                hits[part] = any(centroid_of(component) in on for component in components_of(region))
            else:
                hits[part] = sum((y, x) in on for y, x in np.argwhere(region).tolist()) / region.sum() >= options.area
    return hits
