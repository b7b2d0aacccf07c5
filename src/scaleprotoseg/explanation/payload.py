"""The data that the script of a page computes with: the model once, and the maps of each image."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from scaleprotoseg.explanation.clearest_pixels import ClearestPixel, choose_start, clearest_pixels
from scaleprotoseg.explanation.data_uris import classes_uri, image_uri
from scaleprotoseg.explanation.decomposition import Decomposition
from scaleprotoseg.explanation.patches import reaches, used_prototypes


@dataclass(frozen=True)
class ExplainedImage:
    """One explained image on a page.

    Attributes:
        name: Name of the image on the page.
        decomposition: Its decomposition.
        uri: The image, a data URI.
        overlay: The prediction in class colors, a data URI.
        clearest: The clearest pixel of every predicted class, the class with most pixels first.
        start: The pixel to explain first.
    """

    name: str
    decomposition: Decomposition
    uri: str
    overlay: str
    clearest: tuple[ClearestPixel, ...]
    start: ClearestPixel

    @classmethod
    def of(cls, decomposition: Decomposition, name: str) -> ExplainedImage:
        """Draw an image and its prediction, and choose the pixel to explain first."""
        clearest = clearest_pixels(decomposition)
        return cls(
            name=name,
            decomposition=decomposition,
            uri=image_uri(decomposition.image),
            overlay=classes_uri(decomposition.prediction, decomposition.labels),
            clearest=clearest,
            start=choose_start(clearest),
        )

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the image at its original size."""
        return self.decomposition.image.size

    @property
    def map_bytes(self) -> int:
        """Size of the maps in the payload, in bytes."""
        terms = self.decomposition
        similarities = len(used_prototypes(terms)) if terms.grouped else 0
        return 4 * (len(terms.logits) + len(terms.units) + similarities) * terms.logits[0].numel()

    def payload(self) -> dict[str, Any]:
        """Return the maps that the script reads, as plain data; arrays are little-endian float32 in base64."""
        terms = self.decomposition
        width, height = self.size
        rows, columns = terms.logits.shape[-2:]
        return {
            "width": width,
            "height": height,
            "rows": rows,
            "columns": columns,
            "logits": _floats(terms.logits),
            "units": _floats(terms.units),
            "similarities": _floats(terms.similarities[used_prototypes(terms)]) if terms.grouped else None,
            "start": [self.start.x, self.start.y],
        }


def model_payload(model: Decomposition) -> dict[str, Any]:
    """Return the prototypes, units and weights that the script reads, as plain data, from any image's decomposition.

    Prototypes without a weight are left out; ``members`` of a unit hold positions in the list of those that remain.
    """
    used = used_prototypes(model)
    position = {prototype: place for place, prototype in enumerate(used)}
    units = [
        {
            "class": index,
            "number": number,
            "members": [[position[member], float(row[member])] for member in row.nonzero().flatten().tolist()],
        }
        for index, number, row in zip(model.unit_class.tolist(), model.unit_numbers, model.weights, strict=True)
    ]
    return {
        "grouped": model.grouped,
        "classes": [
            {"name": name, "color": list(color)}
            for name, color in zip(model.labels.names, model.labels.colors, strict=True)
        ],
        "units": units,
        "classifier": _floats(model.classifier),
        "prototypes": [_prototype(model, index) for index in used],
        "reaches": reaches(model),
    }


def _prototype(model: Decomposition, index: int) -> dict[str, Any]:
    source = model.sources[index]
    units = model.weights[:, index].nonzero().flatten()
    return {
        "id": index,
        "scale": int(model.prototype_scale[index]),
        "class": int(model.unit_class[units[0]]),
        "source": None if source is None else source.to_json(),
    }


def _floats(values: Tensor) -> str:
    return base64.b64encode(values.contiguous().numpy().astype("<f4").tobytes()).decode("ascii")
