"""The explanation of one image, which a user asks about pixels, saves as a page or looks at in a notebook."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

from scaleprotoseg.data.files import printable_name
from scaleprotoseg.data.pixels import ImageLike
from scaleprotoseg.explanation.data_uris import overlay_uri
from scaleprotoseg.explanation.decomposition import Decomposition, decompose
from scaleprotoseg.explanation.html import render
from scaleprotoseg.explanation.page import write_explanation
from scaleprotoseg.model.network import Network

NOTEBOOK_SIDE = 600
"""Largest width and height of the image in a notebook, in pixels."""


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Decomposition):
    """A decomposition that can be saved as an interactive page and shows itself in a notebook.

    Attributes:
        name: File name of the image; its size if it was not given as a file.
    """

    name: str

    def save(self, path: str | Path, title: str | None = None) -> None:
        """Write the interactive page, on which every pixel of the image can be explained.

        Args:
            path: HTML file to write; an existing file is replaced.
            title: Title of the page; None = ``name``.

        Raises:
            UserError: If the file cannot be written.
        """
        write_explanation(self, path, self.name if title is None else title)

    def _repr_html_(self) -> str:
        return render(
            "notebook.html.j2",
            name=self.name,
            overlay=overlay_uri(self.image, self.prediction, self.labels, NOTEBOOK_SIDE),
            classes=[
                (self.labels.names[index], self.labels.colors[index], fraction)
                for index, fraction in self.class_fractions.items()
            ],
        )


def explain(network: Network, image: ImageLike) -> Explanation:
    """Explain the scores of a network on an image.

    Args:
        network: Network with prototypes, in eval mode.
        image: A path, a PIL image or an array, as for :func:`~scaleprotoseg.data.pixels.as_pixels`.

    Raises:
        UserError: If the image cannot be read or the network has no prototypes.
    """
    terms = decompose(network, image)
    values = {field.name: getattr(terms, field.name) for field in fields(Decomposition)}
    if isinstance(image, (str, os.PathLike)):
        name = printable_name(Path(image).name)
    else:
        name = f"{terms.image.width}x{terms.image.height} image"
    return Explanation(**values, name=name)
