"""Measure the cost of making a trained black box explain itself.

    python benchmarks/post_hoc.py runs/camvid-deeplabv2 --root CAMVID

Trains the black box of a finished run again, then the prototypes that ``scaleprotoseg train --from`` fits over the
black box of the run. Prints the processor time of both trainings, without startup, measurements and reports, and the
mIoU of the run's black box and of the model that explains it on the validation split.
"""

from __future__ import annotations

import argparse
import logging
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.evaluation.segmentation import score_segmentation
from scaleprotoseg.formats.bundle import load
from scaleprotoseg.model.network import Network
from scaleprotoseg.recipe_files import read_recipe, recipe_from
from scaleprotoseg.training.black_box import recipe_over
from scaleprotoseg.training.curriculum import run_phases, start
from scaleprotoseg.training.recipe import Recipe
from scaleprotoseg.training.run_folder import RunFolder


def main() -> None:
    """Measure both trainings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--root", type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    run = RunFolder(options.run)
    black_box = read_recipe(["--config", str(run.config)])
    post_hoc = replace(recipe_from(recipe_over(str(run.model))), seed=black_box.seed)
    training, validation = (open_dataset(black_box.data.name, split, options.root) for split in ("train", "val"))
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.processor()}, seed {black_box.seed}"
    )
    print("| | processor seconds | of the black box | mIoU | of the black box |\n|---|---|---|---|---|")
    _, box_seconds = timed_training(black_box, training)
    # With another number of threads, the new black box would differ slightly from the one that is explained.
    box_miou = score_segmentation(load(run.model), validation).miou
    print(row(black_box.method, box_seconds, box_miou, box_seconds, box_miou), flush=True)
    network, seconds = timed_training(post_hoc, training)
    print(row(post_hoc.method, seconds, score_segmentation(network, validation).miou, box_seconds, box_miou))


def timed_training(recipe: Recipe, dataset: SegmentationDataset) -> tuple[Network, float]:
    """Train a recipe in a temporary folder and return the network and the processor time in seconds."""
    with tempfile.TemporaryDirectory() as path:
        folder = RunFolder(Path(path))
        begin = time.process_time()
        network, done = start(recipe, dataset.labels, folder)
        run_phases(network, done, recipe, dataset, folder, lambda *_: None)
        return network, time.process_time() - begin


def row(method: str, seconds: float, miou: float, box_seconds: float, box_miou: float) -> str:
    """Return a row of the table."""
    return f"| {method} | {seconds:.0f} | {seconds / box_seconds:.3f} | {miou:.4f} | {miou / box_miou:.3f} |"


if __name__ == "__main__":
    main()
