r"""Measure consistency and stability at chance level: the scores of activation maps that are random noise.

    python benchmarks/chance.py scenes
    python benchmarks/chance.py voc2012 --root VOC2012 --parts KEYPOINTS.json

The maps are uniform noise with one value per square of several pixels. They are either drawn for every image and for
its noisy copy, or drawn once. If they are drawn once, a prototype responds to the same positions in every image, and
noise cannot change them. Where any active pixel near a keypoint hits its part, maps with small squares hit nearly every
part: compare only models whose maps are about equally smooth.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from scaleprotoseg.data.dataset import Sample
from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.inference.part_scores import score_parts
from scaleprotoseg.inference.tiles import Alter
from scaleprotoseg.inference.units import MapsFunction, Units
from scaleprotoseg.model.config import IMAGENET_STD

SQUARES = (8, 32)
"""Sides of the squares in pixels."""

PROTOTYPES_PER_CLASS = 8


def main() -> None:
    """Print the scores of each kind of map."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--parts", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dataset = open_dataset(options.data, "val", options.root, options.parts)
    classes = torch.arange(len(dataset.labels)).repeat_interleave(PROTOTYPES_PER_CLASS)
    units = [Units("prototypes", torch.arange(len(classes)), classes, torch.zeros_like(classes))]
    for side in SQUARES:
        for redraw in (True, False):
            maps_of = random_maps(side, redraw, len(classes), options.seed)
            scores = score_parts(maps_of, units, dataset, torch.tensor(IMAGENET_STD))
            if scores is None:
                raise SystemExit(f"{options.data}: has no annotations of object parts; give --parts")
            kind = f"{side:3d} pixels, drawn {'for every image' if redraw else 'once'}"
            print(f"{kind}: consistency {scores[0].consistency:.3f}, stability {scores[0].stability:.3f}")


def random_maps(side: int, redraw: bool, count: int, seed: int) -> MapsFunction:
    """Return a function that computes random activations of ``count`` prototypes.

    Args:
        side: Side in pixels of the squares with one value.
        redraw: True to draw new values in every call, False to return the same ones.
        count: Number of prototypes.
        seed: Seed of the values.
    """
    generator = torch.Generator().manual_seed(seed)

    def maps_of(sample: Sample, alter: Alter | None) -> list[Tensor]:
        size = (-(-sample.image.height // side), -(-sample.image.width // side))
        if not redraw:
            generator.manual_seed(seed)
        return [torch.rand(count, *size, generator=generator)]

    return maps_of


if __name__ == "__main__":
    main()
