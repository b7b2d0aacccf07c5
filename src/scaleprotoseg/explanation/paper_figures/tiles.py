"""The tiles of a figure on groups: an image, maps over it, and training patches."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from scaleprotoseg.data.files import printable
from scaleprotoseg.data.masks import resize_labels
from scaleprotoseg.errors import UserError
from scaleprotoseg.explanation.paper_figures.style import MUTED, Rgb
from scaleprotoseg.model.source import Source
from scaleprotoseg.model.upsampling import upsample

Floats = npt.NDArray[np.floating]

IMAGE_SIDE = 480
"""Length of the longer side of an image in a figure, in pixels."""

FAINT, STRONG = 0.45, 0.85
"""Opacity of a map over the image where its values are lowest, and where they are highest."""

PEAKS = 0.005
"""Fraction of a map's largest values that may share one color."""


@dataclass(frozen=True)
class Heat:
    """A color scale, the same for all maps that are to be compared.

    Attributes:
        low: The value that gets the darkest color.
        high: The value from which on all get the lightest color; > ``low``.
    """

    low: float
    high: float

    @classmethod
    def of(cls, maps: Sequence[Tensor]) -> Heat:
        """Return a color scale for maps; their few largest values exceed it, since they would leave the others dark."""
        low = min(float(values.min()) for values in maps)
        high = max(float(np.quantile(values.numpy(), 1 - PEAKS)) for values in maps)
        return cls(low, high if high > low else low + 1)

    def over(self, brightness: Floats, values: Floats) -> Floats:
        """Color values and blend them with a gray image.

        Args:
            brightness: (H, W) brightness of the image in 0-1.
            values: (H, W) values.

        Returns:
            (H, W, 3) red, green and blue in 0-1.
        """
        fraction = ((values - self.low) / (self.high - self.low)).clip(0, 1)
        opacity = (FAINT + (STRONG - FAINT) * fraction)[..., None]
        return np.asarray(
            opacity * matplotlib.colormaps["magma"](fraction)[..., :3] + (1 - opacity) * brightness[..., None]
        )

    def draw_key(self, axes: Axes) -> None:
        """Draw the color scale, with its values along the x axis."""
        values = np.linspace(self.low, self.high, 256)[None]
        key = self.over(np.full_like(values, 0.5), values)
        axes.imshow(key, extent=(self.low, self.high, 0, 1), aspect="auto")
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.tick_params(length=2, pad=1)


@dataclass(frozen=True)
class Backdrop:
    """An image over which the maps of one class are drawn.

    Attributes:
        image: (H, W, 3) RGB values in 0-255, at the size in the figure.
        region: (H, W) mask of the pixels that are labeled as the class.
        color: Color of the class.
    """

    image: npt.NDArray[np.uint8]
    region: npt.NDArray[np.bool_]
    color: Rgb

    @classmethod
    def of(cls, image: Image.Image, region: npt.NDArray[np.bool_], color: Rgb) -> Backdrop:
        """Resize an image and an (H, W) region of it to the size in the figure."""
        factor = IMAGE_SIDE / max(image.size)
        width, height = (max(1, round(side * factor)) for side in image.size)
        resized = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
        shown = resize_labels(torch.from_numpy(region)[None], (height, width))[0].numpy()
        return cls(resized, shown, color)

    @property
    def aspect(self) -> float:
        """Height over width."""
        height, width = self.region.shape
        return float(height / width)

    def draw(self, axes: Axes) -> None:
        """Draw the image and the outline of the class."""
        axes.imshow(self.image)
        self.draw_outline(axes, "white", 1.8)
        self.draw_outline(axes, self.color, 0.9)

    def draw_map(self, axes: Axes, values: Tensor, heat: Heat) -> None:
        """Draw an (h, w) map over the gray image."""
        size = self.region.shape
        fine = upsample(values[None, None], size)[0, 0].numpy()
        axes.imshow(heat.over(self.image.mean(axis=2) / 255, fine))

    def draw_outline(self, axes: Axes, color: Rgb | str, width: float) -> None:
        """Draw the outline of the class, if any pixel is labeled as it."""
        if self.region.any():
            # A border of zeros closes the outline where the region touches the edge of the image.
            y, x = (np.arange(-1, side + 1) for side in self.region.shape)
            axes.contour(x, y, np.pad(self.region, 1), levels=[0.5], colors=[color], linewidths=width)
            axes.set(xlim=(-0.5, len(x) - 2.5), ylim=(len(y) - 2.5, -0.5))


def draw_patch(axes: Axes, source: Source | None, color: Rgb) -> None:
    """Draw the training patch of a prototype, with a box around the region shown for its scale.

    Raises:
        UserError: If the stored crop is damaged.
    """
    for spine in axes.spines.values():
        spine.set(visible=True, color=color, linewidth=1.5)
    if source is None:
        axes.text(0.5, 0.5, "patch\nunknown", transform=axes.transAxes, ha="center", va="center", color=MUTED)
        return
    try:
        crop = np.asarray(Image.open(io.BytesIO(source.png), formats=["PNG"]).convert("RGB"))
    except Exception as error:  # Pillow raises many types of errors for damaged files.
        raise UserError(
            f"{printable(source.image)}: its crop in the model folder cannot be read; copy the whole folder again"
        ) from error
    left, top, right, bottom = source.window
    axes.imshow(crop, extent=(left, right, bottom, top))
    x0, y0, x1, y1 = source.box
    for line, width in (("white", 1.8), (color, 0.9)):
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=line, linewidth=width))
