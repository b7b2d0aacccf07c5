"""Exact decomposition of a decision: logits as sums over groups, logarithms of groups as sums over their prototypes.

At a cell of the feature map, the logits are ``V g`` and ``log g = A a`` (ScaleProtoSeg, section 3.2). Bilinear
upsampling is linear, so the logit of a pixel is the sum of its upsampled group contributions. The logarithm of an
upsampled group is no such sum, which is why the members of a group are given at the cell that contains the pixel.
"""

from __future__ import annotations

import copy
import numbers
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from scaleprotoseg.data.files import printable
from scaleprotoseg.data.labels import LabelTable
from scaleprotoseg.data.pixels import ImageLike, as_image, as_pixels
from scaleprotoseg.errors import UserError
from scaleprotoseg.inference.prediction import class_map
from scaleprotoseg.inference.similarities import similarities_of
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.source import Source
from scaleprotoseg.model.upsampling import upsampled_at

REPR_LINES = 12
"""Largest number of lines that a :class:`PixelExplanation` is printed with."""

REPR_MEMBERS = 3
"""Largest number of members that are printed for each group."""

REPR_CLASSES = 3
"""Largest number of classes that a :class:`Decomposition` is printed with."""


@dataclass(frozen=True)
class ClassScore:
    """A class and its logit at a pixel."""

    class_name: str
    logit: float


@dataclass(frozen=True, repr=False)
class MemberContribution:
    """Contribution of one prototype to a group, at the cell that contains the pixel.

    Attributes:
        prototype: Index of the prototype.
        scale: Index of its scale, from 0; printed explanations and pages count from 1.
        weight: Its weight in the group, 0-1.
        similarity: Similarity of the cell to the prototype, > 0.
        contribution: weight * similarity.
        source: The training patch that the prototype was projected onto; None if unknown.
    """

    prototype: int
    scale: int
    weight: float
    similarity: float
    contribution: float
    source: Source | None

    def __str__(self) -> str:
        source = "" if self.source is None else f", from {printable(self.source.image)}"
        product = f"{self.weight:.2f} x {self.similarity:.2f} = {self.contribution:.2f}"
        return f"prototype #{self.prototype}, scale {self.scale + 1}: {product}{source}"

    def __repr__(self) -> str:
        return f"<{self}>"


@dataclass(frozen=True, repr=False)
class GroupContribution:
    """Contribution of one group to a logit.

    In a model without groups, each prototype takes the place of a group.

    Attributes:
        index: Index of the group over all classes.
        name: Name of the group within its class, as on the pages: ``group 2``, or ``prototype #7`` without groups.
        class_name: The class that the group belongs to, which may differ from the class that is explained.
        weight: Weight of the group for the class that is explained.
        contribution: weight * activation; the contributions of all groups sum to the logit.
        activation: Bilinearly upsampled activation at the pixel.
        cell_activation: Activation at the cell that contains the pixel.
        members: The prototypes with a weight in the group, largest contribution first; their contributions sum to
            ``log(cell_activation)``. Without groups, the prototype itself is the only member, and its contribution is
            ``cell_activation``.
    """

    index: int
    name: str
    class_name: str
    weight: float
    contribution: float
    activation: float
    cell_activation: float
    members: tuple[MemberContribution, ...]

    def __repr__(self) -> str:
        product = f"{self.weight:.2f} x {self.activation:.2f} = {self.contribution:+.2f}"
        members = f"{len(self.members)} member{'' if len(self.members) == 1 else 's'}"
        return f"<{printable(self.class_name)}, {self.name}: {product}, {members}>"


@dataclass(frozen=True, repr=False)
class PixelExplanation:
    """The logit of one class at one pixel, as a sum over groups.

    Attributes:
        x: Column of the pixel.
        y: Row of the pixel.
        cell: (row, column) of the cell that contains the pixel.
        class_name: The class that is explained: the predicted class unless another was asked for.
        logit: Its score.
        runner_up: The best other class.
        groups: All groups with a weight for this class, largest absolute contribution first.
    """

    x: int
    y: int
    cell: tuple[int, int]
    class_name: str
    logit: float
    runner_up: ClassScore
    groups: tuple[GroupContribution, ...]

    def __repr__(self) -> str:
        first = f"Pixel ({self.x}, {self.y}): {printable(self.class_name)}, logit {self.logit:.2f}"
        if self.runner_up.class_name != self.class_name:
            first += f"; best other class: {printable(self.runner_up.class_name)}, logit {self.runner_up.logit:.2f}"
        lines = [first, f"The logit is a sum of {len(self.groups)} contributions (weight x activation), largest first:"]
        shown = 0
        for group in self.groups:
            block = _group_lines(group)
            if len(lines) + len(block) >= REPR_LINES:
                break
            lines += block
            shown += 1
        if shown < len(self.groups):
            rest = sum(group.contribution for group in self.groups[shown:])
            lines.append(f"  {rest:+.2f}  {len(self.groups) - shown} more contributions")
        return "\n".join(lines)


def _group_lines(group: GroupContribution) -> list[str]:
    count = len(group.members)
    product = f"({group.weight:.2f} x {group.activation:.2f})"
    left_out = f", {REPR_MEMBERS} of {count} members:" if count > REPR_MEMBERS else ""
    return [
        f"  {group.contribution:+.2f}  {printable(group.class_name)}, {group.name} {product}{left_out}",
        *(f"      {member}" for member in group.members[:REPR_MEMBERS]),
    ]


@dataclass(frozen=True, eq=False, repr=False)
class Decomposition:
    """All terms of the scores of one image.

    Attributes:
        image: The image, RGB, at its original size.
        labels: The classes.
        logits: (C, h, w) scores; these and all other tensors of floats are on the CPU and in double precision.
        units: (U, h, w) activations of the groups (of the prototypes, in a model without groups).
        unit_class: (U,) class of each unit.
        classifier: (C, U) weights from units to classes.
        similarities: (P, h, w) similarities to the prototypes.
        weights: (U, P) weight of each prototype in each unit.
        prototype_scale: (P,) scale of each prototype.
        sources: Source of each prototype; None where unknown.
        grouped: True if the units are groups.
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

    @cached_property
    def prediction(self) -> npt.NDArray[np.uint8]:
        """(H, W) train id of the best class of every pixel."""
        return class_map(self.logits, self.image.width, self.image.height)

    @property
    def class_fractions(self) -> dict[int, float]:
        """Fraction of the pixels that is predicted as each class, 0-1, by train id; largest first, without zeros."""
        counts = np.bincount(self.prediction.ravel())
        order = np.argsort(-counts, kind="stable").tolist()
        return {index: float(counts[index] / self.prediction.size) for index in order if counts[index]}

    @cached_property
    def unit_numbers(self) -> list[int]:
        """Number of each unit within its class, from 1."""
        seen: dict[int, int] = defaultdict(int)
        result = []
        for index in self.unit_class.tolist():
            seen[index] += 1
            result.append(seen[index])
        return result

    def unit_name(self, unit: int) -> str:
        """Return the name of a unit within its class: ``group 2``, or ``prototype #7`` without groups."""
        return f"group {self.unit_numbers[unit]}" if self.grouped else f"prototype #{unit}"

    def at(self, x: int, y: int, class_name: str | None = None) -> PixelExplanation:
        """Explain the score of one class at one pixel.

        Args:
            x: Column in the image at its original size, 0 to width - 1.
            y: Row in the image at its original size, 0 to height - 1.
            class_name: Class to explain instead of the predicted one ("why not ...?").

        Raises:
            UserError: If ``x`` or ``y`` is no whole number or outside the image, or if the class is unknown.
        """
        x, y = self._pixel(x, y)
        asked = None if class_name is None else self._class_index(class_name)
        scores = self._upsampled(self.logits, x, y)
        ranking = scores.argsort(descending=True, stable=True).tolist()
        target = ranking[0] if asked is None else asked
        runner_up = next((index for index in ranking if index != target), target)
        cell = self._cell(x, y)
        return PixelExplanation(
            x=x,
            y=y,
            cell=cell,
            class_name=self.labels.names[target],
            logit=float(scores[target]),
            runner_up=ClassScore(self.labels.names[runner_up], float(scores[runner_up])),
            groups=self._groups(target, self._upsampled(self.units, x, y), cell),
        )

    def __repr__(self) -> str:
        names = self.labels.names
        shown = [f"{printable(names[index])} {100 * part:.0f} %" for index, part in self.class_fractions.items()]
        if len(shown) > REPR_CLASSES:
            shown[REPR_CLASSES:] = ["..."]
        size = f"{self.image.width}x{self.image.height}"
        return f"<{type(self).__name__} of a {size} image: {', '.join(shown)}; ask .at(x, y)>"

    def _pixel(self, x: int, y: int) -> tuple[int, int]:
        """Return a pixel as plain integers; raise a UserError if it is not one of the image."""
        width, height = self.image.size
        valid = f"give whole numbers 0 <= x < {width} and 0 <= y < {height}"
        for axis, value in (("x", x), ("y", y)):
            if not isinstance(value, numbers.Integral) or isinstance(value, bool):
                raise UserError(f"pixel: {axis} is of type {type(value).__name__}, not a whole number; {valid}")
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(f"pixel ({x}, {y}): is outside the {width}x{height} image; {valid}")
        return int(x), int(y)

    def _class_index(self, name: str) -> int:
        if not isinstance(name, str):
            raise UserError(f"class_name: is of type {type(name).__name__}, not a string; {self._known_classes}")
        if name not in self.labels.names:
            raise UserError(f"class {name!r}: is unknown; {self._known_classes}")
        return self.labels.names.index(name)

    @property
    def _known_classes(self) -> str:
        return f"choose one of {printable(', '.join(self.labels.names))}"

    def _cell(self, x: int, y: int) -> tuple[int, int]:
        """Return (row, column) of the cell that contains a pixel."""
        rows, columns = self.logits.shape[-2:]
        width, height = self.image.size
        return min(y * rows // height, rows - 1), min(x * columns // width, columns - 1)

    def _upsampled(self, maps: Tensor, x: int, y: int) -> Tensor:
        return upsampled_at(maps, x, y, *self.image.size)

    def _groups(self, target: int, activations: Tensor, cell: tuple[int, int]) -> tuple[GroupContribution, ...]:
        row, column = cell
        groups = []
        for unit in self.classifier[target].nonzero().flatten().tolist():
            weight, activation = float(self.classifier[target, unit]), float(activations[unit])
            groups.append(
                GroupContribution(
                    index=unit,
                    name=self.unit_name(unit),
                    class_name=self.labels.names[int(self.unit_class[unit])],
                    weight=weight,
                    contribution=weight * activation,
                    activation=activation,
                    cell_activation=float(self.units[unit, row, column]),
                    members=self._members(unit, row, column),
                )
            )
        return tuple(sorted(groups, key=lambda group: -abs(group.contribution)))

    def _members(self, unit: int, row: int, column: int) -> tuple[MemberContribution, ...]:
        members = []
        for prototype in self.weights[unit].nonzero().flatten().tolist():
            weight = float(self.weights[unit, prototype])
            similarity = float(self.similarities[prototype, row, column])
            members.append(
                MemberContribution(
                    prototype=prototype,
                    scale=int(self.prototype_scale[prototype]),
                    weight=weight,
                    similarity=similarity,
                    contribution=weight * similarity,
                    source=self.sources[prototype],
                )
            )
        return tuple(sorted(members, key=lambda member: -member.contribution))


@torch.inference_mode()
def decompose(network: Network, image: ImageLike) -> Decomposition:
    """Run a network on an image and keep all terms of its scores.

    Args:
        network: Network with prototypes, in eval mode.
        image: A path, a PIL image or an array, as for :func:`~scaleprotoseg.data.pixels.as_pixels`.

    Raises:
        UserError: If the image cannot be read or the network has no prototypes.
    """
    head = network.prototype_head
    pixels = as_pixels(image)
    similarities = similarities_of(network, pixels)[None].double()
    # Logits can be in the thousands: only in double precision do their sums agree to 1e-4.
    head = copy.deepcopy(head).cpu().double()
    units = head.activations(similarities)[0]
    classifier = head.classifier.detach()
    return Decomposition(
        image=as_image(pixels),
        labels=network.labels,
        logits=torch.einsum("cu,uhw->chw", classifier, units),
        units=units,
        unit_class=head.unit_class,
        classifier=classifier,
        similarities=similarities[0],
        weights=head.unit_weights(),
        prototype_scale=head.prototypes.prototype_scale,
        sources=tuple(network.sources),
        grouped=head.level == "groups",
    )
