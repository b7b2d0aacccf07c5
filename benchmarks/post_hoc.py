"""What it costs to make a trained black box explain itself.

    python benchmarks/post_hoc.py runs/camvid-deeplabv2 --root CAMVID

Trains the black box of a finished run again, then what `scaleprotoseg train --from` fits over the one that is there.
Prints the processor time of both, without start, measuring and reports, and the mIoU of the black box that is there
and of what explains it on the validation split.
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
import yaml

from scaleprotoseg.data.registry import open_dataset
from scaleprotoseg.evaluation.segmentation import score_segmentation
from scaleprotoseg.model.bundle import load
from scaleprotoseg.training.black_box import recipe_over
from scaleprotoseg.training.curriculum import run_phases, start
from store import recipe_of


def main() -> None:
    """Measures both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--root", type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    box = recipe_of((options.run / "config.yaml").read_text(encoding="utf-8"))
    over = replace(recipe_of(yaml.safe_dump(recipe_over(str(options.run / "model")), sort_keys=False)), seed=box.seed)
    training, validation = (open_dataset(box.data.name, split, options.root) for split in ("train", "val"))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.processor()}, seed {box.seed}")
    print("| | processor seconds | of the black box | mIoU | of the black box |\n|---|---|---|---|---|")
    first: tuple[float, float] | None = None
    for recipe in (box, over):
        with tempfile.TemporaryDirectory() as folder:
            begun = time.process_time()
            network, done = start(recipe, training.labels, Path(folder))
            run_phases(network, done, recipe, training, Path(folder), lambda *_: None)
            seconds = time.process_time() - begun
        # Trained again with another number of threads, the black box would not be quite the one that is explained.
        miou = score_segmentation(load(options.run / "model") if recipe is box else network, validation).miou
        first = first or (seconds, miou)
        shares = f"{seconds / first[0]:.3f} | {miou:.4f} | {miou / first[1]:.3f}"
        print(f"| {recipe.method} | {seconds:.0f} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
