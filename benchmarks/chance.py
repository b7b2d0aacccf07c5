r"""What consistency and stability are worth: the scores of maps that know nothing.

    python benchmarks/chance.py scenes
    python benchmarks/chance.py voc2012 --root VOC2012 --parts KEYPOINTS.json

Maps are uniform noise of a grain, in pixels. They are drawn anew for every picture and for its noisy twin; or once, so
that a prototype points at the same places in every picture and noise cannot move it. Where a part counts as hit if any
pixel near it is on, fine grain hits nearly everything: compare models whose maps are about as smooth.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from scaleprotoseg.data.dataset import Sample
from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.model.config import IMAGENET_STD
from scaleprotoseg.model.inference import Alter
from scaleprotoseg.model.parts import score_parts
from scaleprotoseg.model.units import Maps, Units

GRAINS = (8, 32)
PER_CLASS = 8


def main() -> None:
    """Prints one line a kind of map."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--parts", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dataset = open_dataset(options.data, "val", options.root, options.parts)
    classes = torch.arange(len(dataset.labels)).repeat_interleave(PER_CLASS)
    units = [Units("prototypes", torch.arange(len(classes)), classes, torch.zeros_like(classes))]
    for grain in GRAINS:
        for anew in (True, False):
            maps = maps_of(grain, anew, len(classes), options.seed)
            scores = score_parts(maps, units, dataset, torch.tensor(IMAGENET_STD))
            if scores is None:
                raise SystemExit(f"{options.data}: has no part labels; give --parts")
            kind = f"{grain:3d} pixels, drawn {'anew' if anew else 'once'}"
            print(f"{kind}: consistency {scores[0].consistency:.3f}, stability {scores[0].stability:.3f}")


def maps_of(grain: int, anew: bool, count: int, seed: int) -> Maps:
    """Noise for so many prototypes."""
    generator = torch.Generator().manual_seed(seed)

    def maps(sample: Sample, alter: Alter | None) -> Sequence[Tensor]:
        size = (-(-sample.image.height // grain), -(-sample.image.width // grain))
        if not anew:
            generator.manual_seed(seed)
        return [torch.rand(count, *size, generator=generator)]

    return maps


if __name__ == "__main__":
    main()
