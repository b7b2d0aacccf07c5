"""The pictures that a figure on groups is made of: a photograph, maps over it, and training patches."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.errors import UserError
from scaleprotoseg.explanation.paper_figures.style import PALE, Rgb
from scaleprotoseg.model.source import Source

Floats = npt.NDArray[np.floating]

PHOTO_SIDE = 480
"""Longest side of a photograph in a figure, in pixels."""

FAINT, STRONG = 0.45, 0.85
"""Opacity of a map over the photograph where its values are lowest, and where they are highest."""


PEAKS = 0.005
"""Share of a map's values that may be drawn alike at its top."""


@dataclass(frozen=True)
class Heat:
    """Colours of values, the same for all maps that are to be compared.

    Attributes:
        low: The value drawn darkest.
        high: The value drawn lightest, as all above it are; > ``low``.
    """

    low: float
    high: float

    @classmethod
    def of(cls, maps: Sequence[Tensor]) -> Heat:
        """Colours that span the values of some maps, but for the largest few, which would leave the others dark."""
        low = min(float(values.min()) for values in maps)
        high = max(float(np.quantile(values.numpy(), 1 - PEAKS)) for values in maps)
        return cls(low, high if high > low else low + 1)

    def over(self, brightness: Floats, values: Floats) -> Floats:
        """Values over a grey photograph.

        Args:
            brightness: (H, W) brightness of the photograph in 0-1.
            values: (H, W) values.

        Returns:
            (H, W, 3) red, green and blue in 0-1.
        """
        share = ((values - self.low) / (self.high - self.low)).clip(0, 1)
        opacity = (FAINT + (STRONG - FAINT) * share)[..., None]
        return np.asarray(
            opacity * matplotlib.colormaps["magma"](share)[..., :3] + (1 - opacity) * brightness[..., None]
        )

    def draw_key(self, axes: Axes) -> None:
        """Draws the colours, with their values along the x axis."""
        values = np.linspace(self.low, self.high, 256)[None]
        key = self.over(np.full_like(values, 0.5), values)
        axes.imshow(key, extent=(self.low, self.high, 0, 1), aspect="auto")
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.tick_params(length=2, pad=1)


@dataclass(frozen=True)
class Backdrop:
    """A photograph that maps of one class are drawn over.

    Attributes:
        photo: (H, W, 3) the picture at the size it is shown in, 0-255.
        region: (H, W) where the class is labelled.
        color: The class's.
    """

    photo: npt.NDArray[np.uint8]
    region: npt.NDArray[np.bool_]
    color: Rgb

    @classmethod
    def of(cls, image: Image.Image, region: npt.NDArray[np.bool_], color: Rgb) -> Backdrop:
        """Brings a picture and an (H, W) region of it to the size they are shown in."""
        enlarged = PHOTO_SIDE / max(image.size)
        width, height = (max(1, round(side * enlarged)) for side in image.size)
        photo = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
        shown = resize_labels(torch.from_numpy(region)[None], (height, width))[0].numpy()
        return cls(photo, shown, color)

    @property
    def aspect(self) -> float:
        """Height over width."""
        height, width = self.region.shape
        return float(height / width)

    def draw(self, axes: Axes) -> None:
        """Draws the photograph and the outline of the class."""
        axes.imshow(self.photo)
        self.draw_outline(axes, "white", 1.8)
        self.draw_outline(axes, self.color, 0.9)

    def draw_map(self, axes: Axes, values: Tensor, heat: Heat) -> None:
        """Draws an (h, w) map over the dimmed photograph."""
        size = self.region.shape
        fine = F.interpolate(values[None, None], size=size, mode="bilinear", align_corners=False)[0, 0].numpy()
        axes.imshow(heat.over(self.photo.mean(axis=2) / 255, fine))

    def draw_outline(self, axes: Axes, color: Rgb | str, width: float) -> None:
        """Draws the outline of the class, if the picture shows it."""
        if self.region.any():
            # A border of zeros closes the outline where the region meets the edge of the picture.
            y, x = (np.arange(-1, side + 1) for side in self.region.shape)
            axes.contour(x, y, np.pad(self.region, 1), levels=[0.5], colors=[color], linewidths=width)
            axes.set(xlim=(-0.5, len(x) - 2.5), ylim=(len(y) - 2.5, -0.5))


def draw_patch(axes: Axes, source: Source | None, color: Rgb) -> None:
    """Draws the training patch of a prototype, and in it the region shown for its scale.

    Raises:
        UserError: If the stored picture is damaged.
    """
    for spine in axes.spines.values():
        spine.set(visible=True, color=color, linewidth=1.5)
    if source is None:
        axes.text(0.5, 0.5, "patch\nunknown", transform=axes.transAxes, ha="center", va="center", color=PALE)
        return
    try:
        picture = np.asarray(Image.open(io.BytesIO(source.picture), formats=["PNG"]).convert("RGB"))
    except Exception as error:  # A damaged file can make Pillow's decoders raise nearly anything.
        raise UserError(f"the patch stored of {source.image} is not readable; copy the whole model folder") from error
    left, top, right, bottom = source.window
    axes.imshow(picture, extent=(left, right, bottom, top))
    x0, y0, x1, y1 = source.box
    for line, width in (("white", 1.8), (color, 0.9)):
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=line, linewidth=width))
