"""Frozen means computed once: the groups of a trained model fitted again, the plain way and on stored views.

    python benchmarks/store.py runs/camvid-scaleprotoseg --root CAMVID [--views 4] [--steps 400]

Takes a finished run of a recipe whose pyramid stands still under its groups, as published, puts new groups over its
prototypes, and trains them as the recipe did, once with views drawn and read anew in every step and once on a store.
Prints pictures a second, with and without the time that filling the store takes, and the mIoU of both on the
validation split.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from textwrap import indent
from typing import Any

import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import Callback

from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.evaluation.segmentation import score_segmentation
from scaleprotoseg.model.bundle import load
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.prototypes import PrototypeHead
from scaleprotoseg.training.curriculum import run_phases
from scaleprotoseg.training.recipe import Recipe, StoreConfig


class Clock(Callback):
    """Seconds of the fit alone."""

    def on_train_start(self, *_: Any) -> None:
        """Starts."""
        self.begun = time.perf_counter()

    def on_train_end(self, *_: Any) -> None:
        """Stops."""
        self.seconds = time.perf_counter() - self.begun


def recipe_of(values: str) -> Recipe:
    """The recipe that a YAML text says, such as a run's config.yaml."""
    parser = ArgumentParser()
    parser.add_class_arguments(Recipe, "recipe")
    return parser.instantiate(parser.parse_string("recipe:\n" + indent(values, "  "))).recipe


def ungrouped(run: Path) -> Network:
    """The model with its prototypes and nothing that combines them."""
    network = load(run / "model")
    network.replace_head(PrototypeHead(network.head.prototypes, len(network.labels)), network.sources)
    return network


def main() -> None:
    """Measures both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()

    recipe = recipe_of((options.run / "config.yaml").read_text(encoding="utf-8"))
    grouping = next(phase for phase in recipe.phases.values() if phase.do == "group")
    fit = next(phase for phase in recipe.phases.values() if "groups" in phase.learning_rates)
    if fit.tied or fit.distillation:
        parser.error(f"{options.run}: trains more than groups over frozen similarities; give a run of scaleprotoseg")
    phases = {"grouping": grouping, "groups": replace(fit, steps=options.steps)}
    recipe = replace(recipe, phases=phases, warm_start=str(options.run / "model"))
    pictures = options.steps * recipe.data.accumulate * recipe.data.batch_size
    training, validation = (open_dataset(recipe.data.name, split, options.root) for split in ("train", "val"))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.processor()}, seed {recipe.seed}")
    print(f"| {recipe.data.name}, {pictures} views in training | pictures/s | with filling | mIoU |\n|---|---|---|---|")
    rates = []
    for name, views in (("read anew", 0), (f"{options.views} views of each picture, stored", options.views)):
        network, clock, begun = ungrouped(options.run), Clock(), time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            short = replace(recipe, store=StoreConfig(views))
            run_phases(network, 0, short, training, Path(folder), lambda *_: None, [clock])
        whole = time.perf_counter() - begun
        rates.append(pictures / clock.seconds)
        miou = score_segmentation(network, validation).miou
        print(f"| {name} | {rates[-1]:.0f} | {pictures / whole:.0f} | {miou:.4f} |", flush=True)
    print(f"{rates[1] / rates[0]:.1f} times as fast")


if __name__ == "__main__":
    main()
