"""The exact decomposition: a pixel's logit as a sum over groups, a group's logarithm as a sum over members.

The logits of a cell are ``V g`` and ``log g = A a`` (paper, section 3.2). Bilinear upsampling is linear, so a pixel's
logit is still the sum of its upsampled group contributions. The logarithm of a group is a sum only at a cell,
therefore members are read at the cell the pixel falls in.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from scaleprotoseg.data.bands import Pixels, as_image, read_pixels
from scaleprotoseg.data.images import as_seen
from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.errors import UserError
from scaleprotoseg.model.groups import GroupHead
from scaleprotoseg.model.inference import class_map, in_tiles, require_prototypes
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.source import Source


@dataclass(frozen=True)
class Rank:
    """A class and its score at a pixel."""

    class_name: str
    logit: float


@dataclass(frozen=True)
class Member:
    """One prototype's share in a group, at the pixel's cell.

    Attributes:
        prototype: Index of the prototype.
        scale: Index of its pyramid branch.
        weight: Its weight in the group, 0-1.
        similarity: How similar the cell is to it, > 0.
        contribution: weight * similarity.
        source: The training patch it is, if known.
    """

    prototype: int
    scale: int
    weight: float
    similarity: float
    contribution: float
    source: Source | None


@dataclass(frozen=True)
class Group:
    """One group's share in a class score.

    Attributes:
        index: Index of the group over all classes.
        class_name: The class the group belongs to (it may push another class down).
        weight: Its weight to the class in question.
        contribution: weight * activation; these sum to the logit.
        activation: Bilinearly upsampled activation at the pixel.
        cell_activation: Activation at the pixel's cell.
        members: Its prototypes with a weight, largest contribution first; their contributions sum to
            ``log(cell_activation)``. A model without groups has one member per unit, equal to ``cell_activation``.
    """

    index: int
    class_name: str
    weight: float
    contribution: float
    activation: float
    cell_activation: float
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Why:
    """Why a pixel scores as it does for one class.

    Attributes:
        x: Pixel column.
        y: Pixel row.
        cell: (row, column) of the feature cell it falls in.
        class_name: The class explained: the winner unless another was asked for.
        logit: Its score.
        runner_up: The best other class.
        groups: Every group with a weight to this class, largest absolute contribution first.
    """

    x: int
    y: int
    cell: tuple[int, int]
    class_name: str
    logit: float
    runner_up: Rank
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Page:
    """Everything needed to say why, for all pixels of one picture.

    Attributes:
        image: The picture as given, RGB.
        labels: The classes.
        logits: (C, h, w) scores; these and all other values are in double precision.
        units: (U, h, w) activations of the groups (of the prototypes, in a model without groups).
        unit_class: (U,) class of each unit.
        classifier: (C, U) weights from units to classes.
        similarities: (P, h, w) similarities.
        weights: (U, P) weight of each prototype in each unit.
        prototype_scale: (P,) scale of each prototype.
        sources: The prototypes' training patches.
        grouped: Whether units are groups.
    """

    image: Image.Image
    labels: LabelTable
    logits: Tensor
    units: Tensor
    unit_class: Tensor
    classifier: Tensor
    similarities: Tensor
    weights: Tensor
    prototype_scale: Tensor
    sources: tuple[Source | None, ...]
    grouped: bool

    @property
    def prediction(self) -> np.ndarray:
        """(H, W) train id of the best class of every pixel."""
        return class_map(self.logits, self.image.width, self.image.height)

    def at(self, x: int, y: int, class_name: str | None = None) -> Why:
        """Explains one pixel.

        Args:
            x: Column in the picture as given, 0 to width - 1.
            y: Row in the picture as given, 0 to height - 1.
            class_name: Explain this class instead of the winner ("why not ...?").

        Raises:
            UserError: If the pixel is outside the picture or the class unknown.
        """
        width, height = self.image.size
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(
                f"pixel ({x}, {y}) is outside the {width}x{height} picture; give 0 <= x < {width}, 0 <= y < {height}"
            )
        if class_name is not None and class_name not in self.labels.names:
            raise UserError(f"class {class_name!r} is unknown; choose one of {', '.join(self.labels.names)}")
        scores = self._upsampled(self.logits, x, y)
        ranking = scores.argsort(descending=True, stable=True).tolist()
        target = ranking[0] if class_name is None else self.labels.names.index(class_name)
        runner_up = next((index for index in ranking if index != target), target)
        rows, columns = self.logits.shape[-2:]
        cell = min(y * rows // height, rows - 1), min(x * columns // width, columns - 1)
        return Why(
            x, y, cell,
            self.labels.names[target], float(scores[target]),
            Rank(self.labels.names[runner_up], float(scores[runner_up])),
            self._groups(target, self._upsampled(self.units, x, y), cell),
        )  # fmt: skip

    def _upsampled(self, maps: Tensor, x: int, y: int) -> Tensor:
        """(N,) values at a pixel of (N, h, w) maps, as bilinear upsampling with half-pixel centres gives them."""
        (rows, columns), (width, height) = maps.shape[-2:], self.image.size
        r = min(max((y + 0.5) * rows / height - 0.5, 0.0), rows - 1.0)
        c = min(max((x + 0.5) * columns / width - 0.5, 0.0), columns - 1.0)
        top, left = int(r), int(c)
        corners = maps[:, [top, min(top + 1, rows - 1)]][:, :, [left, min(left + 1, columns - 1)]]
        across = corners[..., 0] * (1 - c + left) + corners[..., 1] * (c - left)
        return across[:, 0] * (1 - r + top) + across[:, 1] * (r - top)

    def _groups(self, target: int, activations: Tensor, cell: tuple[int, int]) -> tuple[Group, ...]:
        row, column = cell
        groups = []
        for index in self.classifier[target].nonzero().flatten().tolist():
            weight = float(self.classifier[target, index])
            groups.append(
                Group(
                    index,
                    self.labels.names[int(self.unit_class[index])],
                    weight,
                    weight * float(activations[index]),
                    float(activations[index]),
                    float(self.units[index, row, column]),
                    self._members(index, row, column),
                )
            )
        return tuple(sorted(groups, key=lambda group: -abs(group.contribution)))

    def _members(self, unit: int, row: int, column: int) -> tuple[Member, ...]:
        members = []
        for prototype in self.weights[unit].nonzero().flatten().tolist():
            weight = float(self.weights[unit, prototype])
            value = float(self.similarities[prototype, row, column])
            scale = int(self.prototype_scale[prototype])
            members.append(Member(prototype, scale, weight, value, weight * value, self.sources[prototype]))
        return tuple(sorted(members, key=lambda member: -member.contribution))


@torch.inference_mode()
def explain(network: Network, image: str | Path | Image.Image | np.ndarray) -> Page:
    """Runs a picture through the network and keeps every term of its decision.

    Args:
        network: In eval mode, with prototypes.
        image: A path, a PIL picture, an (H, W[, 3]) uint8 array, or (H, W, N) bands in 0-1.

    Raises:
        UserError: If the picture is unreadable or the network has no prototypes.
    """
    head = require_prototypes(network)
    pixels = _pixels(image)
    similarities = in_tiles(network, pixels, lambda tile: network(tile).similarities)[None].double()
    # Scores can be in the thousands: added up again in double precision, their sums come out to 1e-4.
    head = copy.deepcopy(head).cpu().double()
    grouped = isinstance(head, GroupHead)
    units = (head.activations(similarities) if isinstance(head, GroupHead) else similarities)[0]
    weights = (
        head.dense_weights() if isinstance(head, GroupHead) else torch.eye(len(head.prototypes), dtype=torch.double)
    )
    return Page(
        image=as_image(pixels),
        labels=network.labels,
        logits=torch.einsum("cu,uhw->chw", head.classifier.detach(), units),
        units=units,
        unit_class=head.unit_class,
        classifier=head.classifier.detach(),
        similarities=similarities[0],
        weights=weights,
        prototype_scale=head.prototypes.prototype_scale,
        sources=tuple(network.sources),
        grouped=grouped,
    )


def _pixels(image: str | Path | Image.Image | np.ndarray) -> Pixels:
    if isinstance(image, (str, Path)):
        return read_pixels(Path(image))
    if isinstance(image, Image.Image):
        return as_seen(ImageOps.exif_transpose(image), "picture")
    array = np.asarray(image)
    if array.ndim == 3 and array.size and array.dtype.kind == "f" and 0 <= array.min() <= array.max() <= 1:
        return array.astype(np.float32)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)) or not array.size:
        raise UserError(
            f"image array: {array.dtype} of shape {array.shape}; give (H, W) or (H, W, 3) uint8 values, or (H, W, N) "
            "fractions in 0-1"
        )
    return Image.fromarray(array).convert("RGB")
