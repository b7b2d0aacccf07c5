"""Compare the training of groups with and without the feature cache.

    python benchmarks/store.py runs/camvid-scaleprotoseg --root CAMVID [--views 4] [--steps 400]

Takes a finished run of a recipe whose pyramid is frozen while groups are trained, as published. Puts new groups over
the prototypes and trains them as the recipe does, once with a new view computed in every step and once with cached
views. Prints images per second, without and with the time for filling the cache, and the mIoU on the validation split.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.evaluation.segmentation import score_segmentation
from scaleprotoseg.formats.bundle import load
from scaleprotoseg.model.heads.prototypes import PrototypeHead
from scaleprotoseg.model.network import Network
from scaleprotoseg.recipe_files import read_recipe
from scaleprotoseg.training.config import StoreConfig
from scaleprotoseg.training.curriculum import run_phases
from scaleprotoseg.training.phases.fit import Fit
from scaleprotoseg.training.phases.group import Group
from scaleprotoseg.training.recipe import Recipe
from scaleprotoseg.training.run_folder import RunFolder


class Stopwatch(Callback):
    """Measures the seconds of a fit, without preparation.

    Attributes:
        seconds: Duration of the fit.
    """

    def on_train_start(self, *_: Any) -> None:
        """Start the measurement."""
        self._begin = time.perf_counter()

    def on_train_end(self, *_: Any) -> None:
        """Stop the measurement."""
        self.seconds = time.perf_counter() - self._begin


def without_groups(bundle: Path) -> Network:
    """Load a model and replace its groups by a classifier over the prototypes."""
    network = load(bundle)
    prototypes = network.prototype_head.prototypes
    network.replace_head(PrototypeHead(prototypes, len(network.labels)), network.sources)
    return network


def grouping_recipe(recipe: Recipe, steps: int) -> Recipe:
    """Return a recipe with only the phases that add groups and train them.

    Raises:
        ValueError: If the recipe does not train groups over frozen similarities.
    """
    grouping = next((phase for phase in recipe.phases.values() if isinstance(phase, Group)), None)
    fit = next(
        (phase for phase in recipe.phases.values() if isinstance(phase, Fit) and "groups" in phase.learning_rates), None
    )
    if grouping is None or fit is None or fit.tied or fit.distillation:
        raise ValueError("does not train groups over frozen similarities; give a run of scaleprotoseg")
    return replace(recipe, phases={"grouping": grouping, "groups": replace(fit, steps=steps)})


def main() -> None:
    """Measure the training without and with cached views."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()

    run = RunFolder(options.run)
    recipe = replace(read_recipe(["--config", str(run.config)]), warm_start=str(run.model))
    try:
        recipe = grouping_recipe(recipe, options.steps)
    except ValueError as error:
        parser.error(f"{options.run}: {error}")
    images = options.steps * recipe.data.accumulate * recipe.data.batch_size
    training, validation = (open_dataset(recipe.data.name, split, options.root) for split in ("train", "val"))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.processor()}, seed {recipe.seed}")
    print(f"| {recipe.data.name}, {images} views in training | images/s | with filling | mIoU |\n|---|---|---|---|")
    rates = []
    for name, views in (("new views", 0), (f"{options.views} cached views per image", options.views)):
        network, stopwatch, begin = without_groups(run.model), Stopwatch(), time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            with_cache = replace(recipe, store=StoreConfig(views))
            run_phases(network, 0, with_cache, training, RunFolder(Path(folder)), lambda *_: None, [stopwatch])
        seconds = time.perf_counter() - begin
        rates.append(images / stopwatch.seconds)
        miou = score_segmentation(network, validation).miou
        print(f"| {name} | {rates[-1]:.0f} | {images / seconds:.0f} | {miou:.4f} |", flush=True)
    print(f"{rates[1] / rates[0]:.1f} times as fast")


if __name__ == "__main__":
    main()
