"""The feature cache: outputs of the frozen part of a network for a fixed set of augmented images, on disk."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.data.seeds import seed_of
from scaleprotoseg.data.transforms import Epochs, TrainingStream
from scaleprotoseg.distributed import barrier, is_main, shard
from scaleprotoseg.errors import UserError
from scaleprotoseg.files import replacing_folder
from scaleprotoseg.progress import Progress
from scaleprotoseg.training.config import TrainingConfig
from scaleprotoseg.training.copies import Copies, best_cells, masked_copy, noisy_copy
from scaleprotoseg.training.frozen import FrozenPrefix

log = logging.getLogger(__name__)

CHUNK = 64
"""Number of views per chunk; a run that was killed computes at most one chunk again."""

BATCH = 8
"""Number of views that are computed at once."""

ABOVE_SIMILARITIES = ("head.classifier", "head.weights")
"""Prefixes of the parameters that do not influence similarities."""


class View(NamedTuple):
    """The training data of one augmented image, or of a batch of them.

    Attributes:
        clean: Output of the frozen part, as a list of tensors (see :class:`FrozenPrefix`).
        masks: Train ids.
        noisy: Output of the frozen part for the noisy copy; empty without noise.
        masked: Output of the frozen part for the masked copy; empty without masks.
        centers: Flat index of the cell in the center of the window of the masked copy, -1 for none.
        teacher_logits: Logits of the teacher, as the only element; empty without a teacher.
        parts: Ids of object parts; of length 0 except for the first dimension if the fit does not use them.
    """

    clean: list[Tensor]
    masks: Tensor
    noisy: list[Tensor]
    masked: list[Tensor]
    centers: Tensor
    teacher_logits: list[Tensor]
    parts: Tensor


class ViewCache(Dataset[View]):
    """A stream of cached views, read from memory-mapped files.

    The first epoch has the order of the views, every later epoch a random order of its own. A stream that is not longer
    than the number of views is therefore the same as without a cache.

    Args:
        folder: Folder of the chunks.
        views: Number of views in the folder.
        seed: Seed of the random orders.
        length: Number of items in the stream.
    """

    def __init__(self, folder: Path, views: int, seed: int, length: int) -> None:
        self.views = views
        self.seed = seed
        self.length = length
        self._chunks = [_open(folder / f"{number:05d}") for number in range(-(-views // CHUNK))]
        self._epochs = Epochs(views, seed)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> View:
        """Read one view."""
        chunk, row = divmod(index if index < self.views else self._epochs[index], CHUNK)
        arrays = {name: torch.from_numpy(np.array(array[row])) for name, array in self._chunks[chunk].items()}
        clean, noisy, masked, teacher_logits = (
            [arrays[name] for name in sorted(arrays) if name.startswith(kind)]
            for kind in ("clean", "noisy", "masked", "teacher_logits")
        )
        return View(clean, arrays["mask"], noisy, masked, arrays["centers"], teacher_logits, arrays["parts"])


@dataclass(frozen=True)
class FeatureCache:
    """The cached views of a fit, read from disk or computed.

    Attributes:
        prefix: The frozen part of the network.
        copies: Altered copies of the images.
        with_parts: True if views hold ids of object parts.
        config: Recipe, for the size of the cache, the data and the seed.
        folder: Folder of the caches of a run; caches of other fits are deleted.
    """

    prefix: FrozenPrefix
    copies: Copies
    with_parts: bool
    config: TrainingConfig
    folder: Path

    def views(self, stream: Callable[[int], TrainingStream], length: int, progress: Progress = iter) -> ViewCache:
        """Return the cached views of the folder if they match this fit, else compute them.

        Args:
            stream: Function that returns a stream with a given number of views; its views are always the same.
            length: Number of items in the fit.
            progress: Wraps the chunks to show progress.

        Raises:
            UserError: If the disk space that the recipe allows is too small for one batch.
        """
        count = self._count(stream)
        cache = self.folder / self._digest(count)
        if is_main() and self.folder.is_dir():
            for other in self.folder.iterdir():
                if other != cache:
                    shutil.rmtree(other)
        barrier()
        self.fill(stream(count), cache, progress)
        barrier()
        return ViewCache(cache, count, self.config.seed, length)

    def fill(self, stream: TrainingStream, folder: Path, progress: Progress = iter) -> None:
        """Compute the missing chunks; several processes share the work.

        Args:
            stream: The views.
            folder: Folder to write to. Each chunk is a folder with an array for each tensor of a view: masks and parts
                unchanged, teacher logits in float32, everything else in float16.
            progress: Wraps the chunks to show progress.
        """
        std = self.prefix.network.std
        for number in progress(shard(-(-len(stream) // CHUNK))):
            chunk = folder / f"{number:05d}"
            if chunk.is_dir():
                continue
            generator = torch.Generator().manual_seed(seed_of(stream.seed, number))
            batches: list[dict[str, Tensor]] = []
            items = Subset(stream, range(number * CHUNK, min(len(stream), (number + 1) * CHUNK)))
            for pixels, masks, parts in DataLoader(items, batch_size=BATCH):
                images = (pixels.float() / 255).to(std.device, memory_format=torch.channels_last)
                view = view_of(self.prefix, self.copies, images, masks.to(std.device), parts.to(std.device), generator)
                batches.append({name: values.cpu() for name, values in _arrays(view).items()})
            with replacing_folder(chunk) as new:
                for name in batches[0]:
                    np.save(new / f"{name}.npy", torch.cat([batch[name] for batch in batches]).numpy())

    def _count(self, stream: Callable[[int], TrainingStream]) -> int:
        """Return the number of views in the recipe, or as many as fit into the disk space if these are fewer."""
        one = stream(1)
        wanted = self.config.store.views * len(one.dataset)
        pixels, mask, parts = one[0]
        image = pixels[None].float().to(self.prefix.network.std.device) / 255
        clean = self.prefix(image)
        values, logits = (
            sum(maps.numel() for maps in tensors) for tensors in (clean, self.prefix.teacher_logits(image, clean))
        )
        bytes_each = mask.nbytes + parts.nbytes + 2 * values * (1 + self.copies.number) + 4 * logits
        gib, batch = self.config.store.gib, self.config.data.batch_size
        fit = int(gib * 2**30 / bytes_each)
        if fit < batch:
            raise UserError(
                f"store.gib is {gib:g}, but a batch of {batch} views takes {batch * bytes_each / 2**30:.2g} GiB; allow "
                "more, or set store.views to 0"
            )
        if fit < wanted:
            log.info("%d of %d views fit into the %g GiB of store.gib", fit, wanted, gib)
        return min(wanted, fit)

    def _digest(self, views: int) -> str:
        """Return a folder name that differs if anything differs that the views depend on."""
        config, network, teacher = self.config, self.prefix.network, self.prefix.teacher
        values = [asdict(config.data), asdict(config.network.input), config.seed, views, self.prefix.level]
        values += [self.copies, self.with_parts, sorted(View._fields)]
        digest = hashlib.sha256(json.dumps(values, default=str).encode())
        frozen = network.encoder if self.prefix.level == "features" else network
        state = {n: tensor for n, tensor in frozen.state_dict().items() if not n.startswith(ABOVE_SIMILARITIES)}
        for name, tensor in (state | (teacher.state_dict(prefix="teacher.") if teacher else {})).items():
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return f"{self.prefix.level}-{digest.hexdigest()[:16]}"


def view_of(
    prefix: FrozenPrefix, copies: Copies, images: Tensor, masks: Tensor, parts: Tensor, generator: torch.Generator
) -> View:
    """Run the frozen part on images and on their copies.

    Args:
        prefix: The frozen part of the network.
        copies: Altered copies of the images.
        images: (B, channels, H, W) in 0-1.
        masks: (B, H, W) train ids.
        parts: (B, H, W) ids of object parts, or (B, 0).
        generator: Generator of the random numbers, on the CPU.
    """
    network = prefix.network
    clean = prefix(images)
    noisy = prefix(noisy_copy(images, copies.noise, network.std, generator)) if copies.noise else []
    centers, masked = torch.full((len(images),), -1, device=images.device), []
    if copies.window:
        similarities = prefix.similarities(clean)
        grid = similarities.shape[-2], similarities.shape[-1]
        centers = best_cells(similarities, resize_labels(masks, grid), network.prototype_head.prototypes, generator)
        masked = prefix(masked_copy(images, centers, grid, copies.window, network.mean))
    return View(clean, masks, noisy, masked, centers, prefix.teacher_logits(images, clean), parts)


def _arrays(view: View) -> dict[str, Tensor]:
    """Return the tensors of a batch of views by the names of their files."""
    arrays = {"mask": view.masks, "parts": view.parts, "centers": view.centers}
    half = {"clean": view.clean, "noisy": view.noisy, "masked": view.masked}
    for kind, maps in half.items():
        arrays |= {f"{kind}{index}": one.half() for index, one in enumerate(maps)}
    # Logits of groups may exceed the range of half precision.
    return arrays | {f"teacher_logits{index}": one.float() for index, one in enumerate(view.teacher_logits)}


def _open(chunk: Path) -> dict[str, npt.NDArray[Any]]:
    return {path.stem: np.load(path, mmap_mode="r") for path in sorted(chunk.glob("*.npy"))}
