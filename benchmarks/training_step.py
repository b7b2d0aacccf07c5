"""Compare the time of a training step with prototypes, with a linear classifier on the same pyramid, and of DeepLabv2.

    python benchmarks/training_step.py [--encoder resnet18] [--crop 321] [--batch 2] [--classes 21] [--rounds 10]

In every round each network does one step, so that changes in the speed of the machine affect all networks equally.
Prints the median time of a step, the median of the ratios within a round, and the ratio of multiply-adds in a forward
pass.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.network import Network
from scaleprotoseg.training.losses.class_cells import OwnPrototypes
from scaleprotoseg.training.losses.diversity import Diversity
from scaleprotoseg.training.losses.segmentation import cross_entropy

HEADS = {
    "ScaleProtoSeg, joint training": HeadConfig("prototypes"),
    "linear on the same pyramid": HeadConfig("linear"),
    "DeepLabv2": HeadConfig("direct"),
}


def step_of(network: Network, images: torch.Tensor, masks: torch.Tensor) -> Callable[[], None]:
    """Return a function that does one optimizer step on fixed images, with the losses of joint training.

    Args:
        network: The network to train.
        images: (B, 3, H, W) images in 0-1.
        masks: (B, H, W) train ids.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    layer = network.prototypes
    classes = len(network.labels)
    diversity = layer and Diversity(OwnPrototypes(layer.prototype_class, layer.prototype_scale, classes))

    def step() -> None:
        optimizer.zero_grad()
        output = network(images)
        loss = cross_entropy(output.logits, masks)
        if diversity is not None and output.distances is not None:
            loss = loss + 0.25 * diversity(output.distances, resize_labels(masks, output.distances.shape[-2:]))
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    """Measure all heads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--crop", type=int, default=321)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--classes", type=int, default=21)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.manual_seed(0)
    labels = LabelTable.from_json({"classes": [f"class {index}" for index in range(options.classes)]})
    images = torch.rand(options.batch, 3, options.crop, options.crop, device=device)
    images = images.to(memory_format=torch.channels_last)
    coarse = torch.randint(0, options.classes, (options.batch, 1, 6, 6), device=device).float()
    masks = torch.nn.functional.interpolate(coarse, size=images.shape[-2:])[:, 0].long()

    steps, multiply_adds = {}, {}
    for name, head in HEADS.items():
        network = Network(NetworkConfig(EncoderConfig(options.encoder), PyramidConfig(), head), labels).to(device)
        network.to(memory_format=torch.channels_last).train()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(images)
        multiply_adds[name] = counter.get_total_flops() / 2
        steps[name] = step_of(network, images, masks)
        steps[name]()

    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name, step in steps.items():
            begin = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - begin)

    ours = next(iter(HEADS))
    print(
        f"{options.encoder}, {options.batch} x {options.crop} x {options.crop}, {options.classes} classes, {device}, "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32, {options.rounds} rounds"
    )
    print("| network | median step | step of ours / its step | multiply-adds of ours / its multiply-adds |")
    print("|---|---|---|---|")
    for name, values in times.items():
        ratio = statistics.median(a / b for a, b in zip(times[ours], values, strict=True))
        adds_ratio = multiply_adds[ours] / multiply_adds[name]
        print(f"| {name} | {statistics.median(values):.3f} s | {ratio:.3f} | {adds_ratio:.3f} |")


if __name__ == "__main__":
    main()
