"""Numerical exactness of explanations: random pixels of a split, explained by a trained model.

    python benchmarks/exactness.py BUNDLE --data camvid [--root CAMVID] [--split test] [--pixels 1000] [--seed 0]

Prints the largest difference between the network's own float32 logit and the sum of the group contributions, and
between the logarithm of a group's activation and the sum of the member contributions.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch.nn.functional as F

import scaleprotoseg as sps
from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.explanation.decomposition import Decomposition, decompose
from scaleprotoseg.inference.prediction import logits_of

PIXELS_PER_IMAGE = 20


def main() -> None:
    """Explain the pixels and compare the sums."""
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

    group_error, member_error, largest = 0.0, 0.0, 0.0
    for done in range(0, options.pixels, PIXELS_PER_IMAGE):
        image = dataset[int(rng.integers(len(dataset)))].image
        decomposition = decompose(model, image)
        logits = F.interpolate(logits_of(model, image)[None], size=image.size[::-1], mode="bilinear")[0]
        for x, y in rng.integers(0, image.size, (min(PIXELS_PER_IMAGE, options.pixels - done), 2)).tolist():
            logit = float(logits[:, y, x].max())
            errors = sum_errors(decomposition, x, y, logit)
            group_error, member_error = max(group_error, errors[0]), max(member_error, errors[1])
            largest = max(largest, abs(logit))
    print(f"{options.pixels} pixels of {options.data} ({options.split}), logits up to {largest:.0f}")
    print(f"largest |sum of group contributions - logit|: {group_error:.1e}")
    if decomposition.grouped:
        print(f"largest |sum of member contributions - log(cell activation)|: {member_error:.1e}")


def sum_errors(decomposition: Decomposition, x: int, y: int, logit: float) -> tuple[float, float]:
    """Return the error of the sum over groups, and the largest error of the sums over members (0 without groups)."""
    why = decomposition.at(x, y)
    group_error = abs(math.fsum(group.contribution for group in why.groups) - logit)
    if not decomposition.grouped:
        return group_error, 0.0
    member_errors = [
        abs(math.fsum(member.contribution for member in group.members) - math.log(group.cell_activation))
        for group in why.groups
    ]
    return group_error, max(member_errors, default=0.0)


if __name__ == "__main__":
    main()
