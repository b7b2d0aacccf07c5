"""Frozen means computed once: what stands still in a phase, of a fixed set of augmented views, on disk."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from scaleprotoseg.data.seeds import seed_of
from scaleprotoseg.data.transforms import Laps, TrainingStream
from scaleprotoseg.distributed import is_main, share, wait
from scaleprotoseg.errors import UserError
from scaleprotoseg.files import replacing_folder
from scaleprotoseg.training.recipe import Phase, Recipe
from scaleprotoseg.training.stem import Stem

log = logging.getLogger(__name__)

CHUNK = 64
"""Views in a file of the store; what a killed run has to compute again at most."""

ABOVE = ("head.classifier", "head.weights")
"""Parameters above the similarities, by the beginning of their names."""


class View(NamedTuple):
    """What a phase learns from, of one picture or of a batch.

    Attributes:
        clean: What stands still, a tensor a reading.
        masks: Train ids.
        twin: What stands still of the twin, the same picture with noise; empty without noise.
        taught: Logits of the teacher, as the only element; empty without one.
        parts: Part ids; of length 0 in all but the first dimension if the phase does not look at them.
    """

    clean: list[Tensor]
    masks: Tensor
    twin: list[Tensor]
    taught: list[Tensor]
    parts: Tensor


class ViewStore(Dataset[View]):
    """A stream of views that a stem has read once, from memory-mapped files.

    Every lap over the views has its own order, the first their own; so a stream that is no longer than the views is
    what it would be without a store.

    Args:
        folder: Holds chunks as :func:`fill` writes them.
        views: Views in it.
        seed: Of the orders.
        length: Items in the stream.
    """

    def __init__(self, folder: Path, views: int, seed: int, length: int) -> None:
        self.views = views
        self.seed = seed
        self.length = length
        self._chunks = [_open(folder / f"{number:05d}") for number in range(-(-views // CHUNK))]
        self._laps = Laps(views, seed)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> View:
        """One view."""
        chunk, row = divmod(index if index < self.views else self._laps[index], CHUNK)
        arrays = {name: torch.from_numpy(np.array(array[row])) for name, array in self._chunks[chunk].items()}
        clean, twin, taught = (
            [arrays[name] for name in sorted(arrays) if name.startswith(kind)] for kind in ("clean", "twin", "taught")
        )
        return View(clean, arrays["mask"], twin, taught, arrays["parts"])


def stored(
    stem: Stem,
    phase: Phase,
    recipe: Recipe,
    stream: Callable[[int], TrainingStream],
    folder: Path,
    length: int,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> ViewStore:
    """The store of a phase: the one in the folder if it fits, else a new one in its place.

    Args:
        stem: What stands still.
        phase: The phase; its noise makes the twins.
        recipe: The training.
        stream: Gives a stream of so many views; always the same views.
        folder: Where stores lie; others are deleted.
        length: Items of the phase.
        progress: Wraps the chunks to show progress.

    Raises:
        UserError: If not even one batch fits into the disk the recipe allows.
    """
    views = _views(stem, phase, recipe, stream)
    place = folder / _digest(stem, phase, recipe, views)
    if is_main() and folder.is_dir():
        for other in folder.iterdir():
            if other != place:
                shutil.rmtree(other)
    wait()
    fill(stem, phase, stream(views), place, progress)
    wait()
    return ViewStore(place, views, recipe.seed, length)


def fill(
    stem: Stem,
    phase: Phase,
    stream: TrainingStream,
    folder: Path,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> None:
    """Writes the chunks that are not there yet; several processes share them.

    Args:
        stem: What stands still.
        phase: Its noise makes the twins.
        stream: The views.
        folder: Gets a folder a chunk, with an array for each tensor of a view: masks and parts as they are, logits of
            the teacher in float32, all else in float16.
        progress: Wraps the chunks to show progress.
    """
    std = stem.network.std
    for number in progress(share(-(-len(stream) // CHUNK))):
        chunk = folder / f"{number:05d}"
        if chunk.is_dir():
            continue
        generator = torch.Generator().manual_seed(seed_of(stream.seed, number))
        batches: list[dict[str, Tensor]] = []
        items = Subset(stream, range(number * CHUNK, min(len(stream), (number + 1) * CHUNK)))
        for pictures, masks, parts in DataLoader(items, batch_size=8):
            images = (pictures.float() / 255).to(std.device, memory_format=torch.channels_last)
            view = view_of(stem, phase, images, masks.to(std.device), parts.to(std.device), generator)
            batch = {"mask": view.masks, "parts": view.parts}
            for kind in ("clean", "twin", "taught"):
                # Logits of groups may be larger than half precision can say.
                small = torch.float32 if kind == "taught" else torch.float16
                batch |= {f"{kind}{place}": maps.to(small) for place, maps in enumerate(getattr(view, kind))}
            batches.append({name: values.cpu() for name, values in batch.items()})
        with replacing_folder(chunk) as new:
            for name in batches[0]:
                np.save(new / f"{name}.npy", torch.cat([batch[name] for batch in batches]).numpy())


def view_of(stem: Stem, phase: Phase, images: Tensor, masks: Tensor, parts: Tensor, generator: torch.Generator) -> View:
    """What stands still of pictures, and of their twins if the phase has noise.

    Args:
        stem: What stands still.
        phase: Its noise is a deviation on the normalised picture.
        images: (B, channels, H, W) in 0-1.
        masks: (B, H, W) train ids.
        parts: (B, H, W) part ids, or (B, 0).
        generator: Of the noise, on the CPU.
    """
    twin: list[Tensor] = []
    if phase.noise:
        noise = torch.randn(images.shape, generator=generator).to(images.device)
        twin = stem(images + phase.noise * stem.network.std * noise)
    clean = stem(images)
    return View(clean, masks, twin, stem.taught(images, clean), parts)


def _views(stem: Stem, phase: Phase, recipe: Recipe, stream: Callable[[int], TrainingStream]) -> int:
    """How many views are kept: as many as asked for, and as the disk allows."""
    one = stream(1)
    wanted = recipe.store.views * len(one.dataset)
    picture, mask, parts = one[0]
    image = picture[None].float().to(stem.network.std.device) / 255
    clean = stem(image)
    still, taught = (sum(values.numel() for values in maps) for maps in (clean, stem.taught(image, clean)))
    bytes_each = mask.nbytes + parts.nbytes + 2 * still * (2 if phase.noise else 1) + 4 * taught
    fit = int(recipe.store.gib * 2**30 / bytes_each)
    batch = recipe.data.batch_size
    if fit < batch:
        raise UserError(
            f"store.gib is {recipe.store.gib:g}, but a batch of {batch} views takes "
            f"{batch * bytes_each / 2**30:.2g} GiB; allow more, or set store.views to 0"
        )
    if fit < wanted:
        log.info("%d of %d views fit into the %g GiB of store.gib", fit, wanted, recipe.store.gib)
    return min(wanted, fit)


def _digest(stem: Stem, phase: Phase, recipe: Recipe, views: int) -> str:
    """A name that changes with everything a store depends on."""
    network = stem.network
    values = [
        asdict(recipe.data),
        asdict(recipe.network.input),
        recipe.seed,
        views,
        stem.level,
        phase.noise,
        phase.pointing > 0,
    ]
    digest = hashlib.sha256(json.dumps(values, default=str).encode())
    still = network.encoder if stem.level == "features" else network
    # What combines similarities does not change them.
    beneath = {name: tensor for name, tensor in still.state_dict().items() if not name.startswith(ABOVE)}
    for name, tensor in (beneath | (stem.teacher.state_dict(prefix="teacher.") if stem.teacher else {})).items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return f"{stem.level}-{digest.hexdigest()[:16]}"


def _open(chunk: Path) -> dict[str, npt.NDArray[Any]]:
    return {path.stem: np.load(path, mmap_mode="r") for path in sorted(chunk.glob("*.npy"))}
