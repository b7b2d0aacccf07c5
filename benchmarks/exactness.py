"""How exactly explanations add up: random pixels of a split, explained by a trained model.

    python benchmarks/exactness.py BUNDLE --data camvid [--root CAMVID] [--split test] [--pixels 1000] [--seed 0]

Prints the largest deviation of the network's own float32 logit from the sum of the group contributions, and of the
logarithm of a group's activation from the sum of the member contributions.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch.nn.functional as F

import scaleprotoseg as sps
from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.model.inference import logits_of

PIXELS_PER_PICTURE = 20


def main() -> None:
    """Explains the pixels and compares the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--data", required=True)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--pixels", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = sps.load(options.bundle)
    dataset = open_dataset(options.data, options.split, options.root)
    rng = np.random.default_rng(options.seed)

    logit, members, largest = 0.0, 0.0, 0.0
    for done in range(0, options.pixels, PIXELS_PER_PICTURE):
        image = dataset[int(rng.integers(len(dataset)))].image
        page = model.explain(image)
        logits = F.interpolate(logits_of(model, image)[None], size=image.size[::-1], mode="bilinear")[0]
        for x, y in rng.integers(0, image.size, (min(PIXELS_PER_PICTURE, options.pixels - done), 2)).tolist():
            why = page.at(x, y)
            decided = float(logits[:, y, x].max())
            logit = max(logit, abs(math.fsum(group.contribution for group in why.groups) - decided))
            largest = max(largest, abs(decided))
            for group in why.groups if page.grouped else ():
                total = math.fsum(member.contribution for member in group.members)
                members = max(members, abs(total - math.log(group.cell_activation)))
    print(f"{options.pixels} pixels of {options.data} ({options.split}), logits up to {largest:.0f}")
    print(f"largest |sum of group contributions - logit|: {logit:.1e}")
    if page.grouped:
        print(f"largest |sum of member contributions - log(cell activation)|: {members:.1e}")


if __name__ == "__main__":
    main()
