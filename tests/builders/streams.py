"""Augmented training items."""

from __future__ import annotations

from functools import partial

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.data.transforms import TrainingStream, augmentation
from scaleprotoseg.inference.part_options import PAPER
from scaleprotoseg.inference.tiles import input_size
from scaleprotoseg.training.recipe import Recipe


def training_stream(
    recipe: Recipe, dataset: SegmentationDataset, length: int, seed: int = 7, with_parts: bool = False
) -> TrainingStream:
    """The items that a fit of the recipe trains on without a feature cache."""
    network_input = recipe.network.input
    return TrainingStream(
        dataset,
        channels=len(network_input.mean),
        size=partial(input_size, network_input.size),
        transform=augmentation(recipe.data.crop, recipe.data.scale, network_input.mean),
        seed=seed,
        length=length,
        radius=PAPER.radius if with_parts else None,
    )
