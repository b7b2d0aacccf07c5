"""Compare the diversity loss, forward and backward, with an implementation by plain loops.

    python benchmarks/diversity.py [--repeat 5]

Prints the median time of both, their ratio, and the relative difference of value and gradient in float64.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from scaleprotoseg.model.prototypes import PrototypeLayer
from scaleprotoseg.training.losses.class_cells import OwnPrototypes
from scaleprotoseg.training.losses.diversity import Diversity

SIZES = {
    # Batch, height, width, classes, classes in each image.
    "Cityscapes": (2, 65, 65, 19, 12),
    "ADE20K": (2, 64, 64, 150, 10),
}


def loss_by_loops(distances: Tensor, labels: Tensor, prototype_class: Tensor, prototype_scale: Tensor) -> Tensor:
    """Compute the loss by loops over images, classes, scales and pairs.

    Args:
        distances: (B, P, h, w) squared distances.
        labels: (B, h, w) train ids.
        prototype_class: (P,) class of each prototype.
        prototype_scale: (P,) scale of each prototype.
    """
    terms = []
    for image in range(len(distances)):
        for label in labels[image].unique().tolist():
            cells = labels[image] == label
            if cells.sum() < 2:
                continue
            for scale in range(int(prototype_scale.max()) + 1):
                own = ((prototype_class == label) & (prototype_scale == scale)).nonzero().flatten()
                for j, k in itertools.combinations(own.tolist(), 2):
                    v, w = (distances[image, index][cells].log_softmax(0) for index in (j, k))
                    terms.append((-0.5 * ((v.exp() - w.exp()) * (v - w)).sum()).exp())
    return torch.stack(terms).mean()


def labels_in_blocks(batch: int, height: int, width: int, present: int, generator: torch.Generator) -> Tensor:
    """Draw (batch, height, width) labels in square blocks, with ``present`` classes in each image."""
    coarse = torch.randint(0, present, (batch, 1, 8, 8), generator=generator)
    coarse.flatten(2)[..., :present] = torch.arange(present)
    return torch.nn.functional.interpolate(coarse.float(), size=(height, width))[:, 0].long()


def time_of(loss: Callable[[], Tensor], distances: Tensor, repeat: int) -> float:
    """Return the median time in seconds of a forward and backward pass, after one pass to warm up."""
    times = []
    for _ in range(repeat + 1):
        distances.grad = None
        begin = time.perf_counter()
        loss().backward()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def main() -> None:
    """Measure both sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    generator = torch.Generator().manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32 times, seed 0, median of {repeat}")
    print("| sizes | prototypes | loops | ours | ratio | difference of value | difference of gradient |")
    print("|---|---|---|---|---|---|---|")
    for name, (batch, height, width, classes, present) in SIZES.items():
        layer = PrototypeLayer.uniform(classes, num_scales=4, per_class=3, channels=1)
        kinds = layer.prototype_class, layer.prototype_scale
        labels = labels_in_blocks(batch, height, width, present, generator)
        values = 10 * torch.rand(batch, len(layer), height, width, generator=generator)
        fast = Diversity(OwnPrototypes(*kinds, classes))

        exact = [values.double().requires_grad_() for _ in range(2)]
        losses = [loss_by_loops(exact[0], labels, *kinds), fast(exact[1], labels)]
        for loss in losses:
            loss.backward()
        value = ((losses[0] - losses[1]).abs() / losses[0].abs()).item()
        gradient = float((exact[0].grad - exact[1].grad).abs().max() / exact[0].grad.abs().max())

        distances = values.requires_grad_()
        slow_time = time_of(lambda d=distances, y=labels, k=kinds: loss_by_loops(d, y, *k), distances, repeat)
        fast_time = time_of(lambda d=distances, y=labels, f=fast: f(d, y), distances, repeat)
        print(
            f"| {name} | {len(layer)} | {slow_time * 1e3:.0f} ms | {fast_time * 1e3:.2f} ms | "
            f"{slow_time / fast_time:.0f}x | {value:.1e} | {gradient:.1e} |"
        )


if __name__ == "__main__":
    main()
