"""What the pages' script computes with: the model's parts once, and the maps of each picture."""

from __future__ import annotations

import base64
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from scaleprotoseg.explanation.figures import classes_uri, photo_uri, png_uri
from scaleprotoseg.model.decomposition import Page
from scaleprotoseg.model.inference import upsampled_strips
from scaleprotoseg.model.source import Source

SMALLEST_START = 0.005
"""A picture is first explained at a class that covers at least this share of it, if there is one."""

CLEAR = 0.25
"""A class is clearly recognised if its margin is at least this share of the largest."""

EDGE = 10
"""One part in this many of the picture's sides counts as its edge."""


@dataclass(frozen=True)
class Anchor:
    """The pixel of a predicted class that is most clearly of that class.

    Attributes:
        index: Train id of the class.
        share: Share of the picture predicted as it, 0-1.
        margin: Its score minus the next best, there.
        x: Pixel column.
        y: Pixel row.
    """

    index: int
    share: float
    margin: float
    x: int
    y: int


@dataclass(frozen=True)
class Patch:
    """A prototype's training patch as it is drawn: a picture and a box, in the picture's own coordinates.

    Attributes:
        prototype: Index of the prototype.
        source: Where it comes from.
        uri: The kept window of the training picture.
        size: (width, height) of that window.
        box: (x, y, width, height) of what the prototype reads, inside the window.
    """

    prototype: int
    source: Source
    uri: str
    size: tuple[int, int]
    box: tuple[int, int, int, int]

    @classmethod
    def of(cls, prototype: int, source: Source) -> Patch:
        """The patch of a prototype with a known source."""
        left, top, right, bottom = source.window
        x0, y0, x1, y1 = source.box
        box = x0 - left, y0 - top, x1 - x0, y1 - y0
        return cls(prototype, source, png_uri(source.picture), (right - left, bottom - top), box)


@dataclass(frozen=True)
class Picture:
    """One explained picture in a page.

    Attributes:
        name: What to call it.
        page: Its decomposition.
        photo: The picture, a data URI.
        prediction: (H, W) train ids.
        overlay: The prediction in class colours, a data URI.
        anchors: One for every predicted class, largest share first.
        start: The anchor to explain first.
    """

    name: str
    page: Page
    photo: str
    prediction: npt.NDArray[np.uint8]
    overlay: str
    anchors: tuple[Anchor, ...]
    start: Anchor

    @classmethod
    def of(cls, page: Page, name: str) -> Picture:
        """Draws a picture and finds what to explain first."""
        prediction = page.prediction
        anchors = find_anchors(page, prediction)
        photo, overlay = photo_uri(page.image), classes_uri(prediction, page.labels)
        return cls(name, page, photo, prediction, overlay, anchors, choose_start(anchors))

    @property
    def map_bytes(self) -> int:
        """How large the maps of the payload are."""
        maps = len(self.page.logits) + len(self.page.units) + self.page.grouped * len(used_prototypes(self.page))
        return 4 * maps * self.page.logits[0].numel()

    def payload(self) -> dict[str, Any]:
        """The maps the script reads, as plain data; arrays are base64 of little-endian float32."""
        page = self.page
        rows, columns = page.logits.shape[-2:]
        return {
            "width": page.image.width,
            "height": page.image.height,
            "rows": rows,
            "columns": columns,
            "logits": _floats(page.logits),
            "units": _floats(page.units),
            "similarities": _floats(page.similarities[used_prototypes(page)]) if page.grouped else None,
            "start": [self.start.x, self.start.y],
        }


def used_prototypes(page: Page) -> list[int]:
    """Indices of the prototypes with a weight in some unit, ascending."""
    indices: list[int] = page.weights.any(dim=0).nonzero().flatten().tolist()
    return indices


def known_patches(page: Page) -> list[Patch]:
    """The patches of all used prototypes whose source is known."""
    sources = ((index, page.sources[index]) for index in used_prototypes(page))
    return [Patch.of(index, source) for index, source in sources if source is not None]


def unit_numbers(page: Page) -> list[int]:
    """The number of every unit within its class, from 1."""
    seen: dict[int, int] = defaultdict(int)
    numbers = []
    for index in page.unit_class.tolist():
        seen[index] += 1
        numbers.append(seen[index])
    return numbers


def reaches(page: Page) -> list[int | None]:
    """How many cells each scale reads to every side of its own; None where no source tells.

    A box that its picture does not clip is ``2 * reach + 1`` cells long and centred on its cell.
    """
    found: list[int | None] = [None] * (int(page.prototype_scale.max()) + 1 if len(page.prototype_scale) else 0)
    for scale, source in zip(page.prototype_scale.tolist(), page.sources, strict=True):
        if source is None or found[scale] is not None:
            continue
        for axis in (0, 1):
            start, end = source.box[axis], source.box[axis + 2]
            if start > 0 and end < source.image_size[axis]:
                cell = (start + end) / 2 / (source.cell[1 - axis] + 0.5)
                found[scale] = round(((end - start) / cell - 1) / 2)
    return found


def model_payload(page: Page) -> dict[str, Any]:
    """The parts of the model the script reads, as plain data (from any of its pages)."""
    used = used_prototypes(page)
    position = {prototype: place for place, prototype in enumerate(used)}
    units = [
        {
            "class": index,
            "number": number,
            "members": [[position[member], float(row[member])] for member in row.nonzero().flatten().tolist()],
        }
        for index, number, row in zip(page.unit_class.tolist(), unit_numbers(page), page.weights, strict=True)
    ]
    return {
        "grouped": page.grouped,
        "classes": [
            {"name": name, "color": list(color)}
            for name, color in zip(page.labels.names, page.labels.colors, strict=True)
        ],
        "units": units,
        "classifier": _floats(page.classifier),
        "prototypes": [_prototype(page, index) for index in used],
        "reaches": reaches(page),
    }


def _prototype(page: Page, index: int) -> dict[str, Any]:
    source = page.sources[index]
    units = page.weights[:, index].nonzero().flatten()
    return {
        "id": index,
        "scale": int(page.prototype_scale[index]),
        "class": int(page.unit_class[units[0]]),
        "source": None if source is None else source.to_json(),
    }


def find_anchors(page: Page, prediction: npt.NDArray[np.uint8]) -> tuple[Anchor, ...]:
    """The most certain pixel of every class in an (H, W) prediction, classes with the largest share first.

    Pixels at the edge of the picture, where patches are cut off, are taken only when a class has no others.
    """
    height, width = prediction.shape
    inner = np.zeros(prediction.shape, dtype=bool)
    inner[height // EDGE : height - height // EDGE, width // EDGE : width - width // EDGE] = True
    margins = _margins(page.logits, width, height)
    anchors = []
    for index in np.unique(prediction).tolist():
        inside = prediction == index
        places = inside & inner if (inside & inner).any() else inside
        y, x = np.unravel_index(np.where(places, margins, -np.inf).argmax(), inside.shape)
        anchors.append(Anchor(index, float(inside.mean()), float(margins[y, x]), int(x), int(y)))
    return tuple(sorted(anchors, key=lambda anchor: -anchor.share))


def _margins(logits: Tensor, width: int, height: int) -> npt.NDArray[np.float32]:
    """(height, width) how far every pixel's best score is above the next."""
    best = (scores.topk(min(2, len(logits)), dim=0).values for scores in upsampled_strips(logits, width, height))
    return np.concatenate([(values[0] - values[-1]).float().numpy() for values in best])


def choose_start(anchors: tuple[Anchor, ...]) -> Anchor:
    """A good first pixel: that of the smallest class which is more than a speck and clearly recognised.

    Large surfaces (sky, road, background) are rarely what a person asks about.
    """
    visible = [anchor for anchor in anchors if anchor.share >= SMALLEST_START] or list(anchors)
    clear = CLEAR * max(anchor.margin for anchor in visible)
    return min((anchor for anchor in visible if anchor.margin >= clear), key=lambda anchor: anchor.share)


def _floats(values: Tensor) -> str:
    return base64.b64encode(values.contiguous().numpy().astype("<f4").tobytes()).decode("ascii")
