"""Training patches as the pages draw them: an image crop with a box."""

from __future__ import annotations

from dataclasses import dataclass

from scaleprotoseg.explanation.data_uris import data_uri
from scaleprotoseg.explanation.decomposition import Decomposition
from scaleprotoseg.model.source import Source


@dataclass(frozen=True)
class Patch:
    """The training patch of a prototype, in pixels of the training image.

    Attributes:
        prototype: Index of the prototype.
        source: Its source.
        uri: The stored window of the training image, a data URI.
        size: (width, height) of the window.
        box: (x, y, width, height) of the region shown for the prototype's scale, relative to the window.
    """

    prototype: int
    source: Source
    uri: str
    size: tuple[int, int]
    box: tuple[int, int, int, int]

    @classmethod
    def of(cls, prototype: int, source: Source) -> Patch:
        """Return the patch of a prototype with a known source."""
        left, top, right, bottom = source.window
        x0, y0, x1, y1 = source.box
        box = x0 - left, y0 - top, x1 - x0, y1 - y0
        return cls(prototype, source, data_uri(source.png, "png"), (right - left, bottom - top), box)


def used_prototypes(model: Decomposition) -> list[int]:
    """Return the indices of the prototypes with a weight in some unit, ascending."""
    indices: list[int] = model.weights.any(dim=0).nonzero().flatten().tolist()
    return indices


def known_patches(model: Decomposition) -> list[Patch]:
    """Return the patches of all used prototypes whose source is known."""
    sources = ((index, model.sources[index]) for index in used_prototypes(model))
    return [Patch.of(index, source) for index, source in sources if source is not None]


def reaches(model: Decomposition) -> list[int | None]:
    """Return, for each scale, how many cells the region shown extends to each side of its cell.

    They are computed from the boxes of the sources: a box that its image does not clip is ``2 * reach + 1`` cells long
    and centered on its cell. None for scales without such a box.
    """
    found: list[int | None] = [None] * (int(model.prototype_scale.max()) + 1 if len(model.prototype_scale) else 0)
    for scale, source in zip(model.prototype_scale.tolist(), model.sources, strict=True):
        if source is None or found[scale] is not None:
            continue
        for axis in (0, 1):
            start, end = source.box[axis], source.box[axis + 2]
            if start > 0 and end < source.image_size[axis]:
                cell = (start + end) / 2 / (source.cell[1 - axis] + 0.5)
                found[scale] = round(((end - start) / cell - 1) / 2)
    return found
