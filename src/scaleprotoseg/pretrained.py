"""Trained models: load one, predict, explain, save. This is the file to read first.

>>> import scaleprotoseg as sps
>>> model = sps.load("runs/demo/model")  # doctest: +SKIP
>>> classes = model.predict("street.jpg")  # doctest: +SKIP
>>> print(model.explain("street.jpg").at(120, 80))  # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self, overload

import numpy as np
import numpy.typing as npt
from huggingface_hub import ModelCard, ModelHubMixin

from scaleprotoseg.data.pixels import ImageLike, as_image, as_pixels
from scaleprotoseg.explanation.explanation import Explanation, explain
from scaleprotoseg.files import replacing_folder
from scaleprotoseg.formats import bundle
from scaleprotoseg.formats.black_boxes import load_model
from scaleprotoseg.formats.model_card import CARD_TEMPLATE, card_values
from scaleprotoseg.inference.prediction import class_map, logits_of, probabilities
from scaleprotoseg.model.network import Network

ClassMap = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]


class SegmentationModel(
    Network,
    ModelHubMixin,
    library_name="scaleprotoseg",
    pipeline_tag="image-segmentation",
    tags=["semantic-segmentation", "interpretability", "prototypes"],
    model_card_template=CARD_TEMPLATE,
):
    """A trained network, with everything a user does with it.

    Calling the model with a (B, 3, H, W) batch of images in 0-1 gives the raw
    :class:`~scaleprotoseg.model.output.Output`.
    """

    @overload
    def predict(self, image: ImageLike, return_probabilities: Literal[False] = False) -> ClassMap: ...
    @overload
    def predict(self, image: ImageLike, return_probabilities: Literal[True]) -> tuple[ClassMap, Probabilities]: ...
    def predict(self, image: ImageLike, return_probabilities: bool = False) -> Any:
        """Predict the class of every pixel of an image of any size.

        Args:
            image: A path, a PIL image, an (H, W) or (H, W, 3) uint8 array, or (H, W, N) bands in 0-1.
            return_probabilities: Also return the class probabilities.

        Returns:
            (H, W) class indices, which are positions in ``model.labels.names``. With ``return_probabilities``, a
            tuple of these and of (C, H, W) probabilities that sum to 1 over the classes.

        Raises:
            UserError: If the image cannot be read.
        """
        pixels = as_pixels(image)
        size = as_image(pixels).size
        logits = logits_of(self, pixels)
        classes = class_map(logits, *size)
        return (classes, probabilities(logits, *size)) if return_probabilities else classes

    def explain(self, image: ImageLike) -> Explanation:
        """Explain the class of every pixel of an image.

        Args:
            image: As for :meth:`predict`.

        Returns:
            An :class:`~scaleprotoseg.explanation.explanation.Explanation`. It shows itself in a notebook; ``.at(x, y)``
            explains one pixel, ``.save("why.html")`` writes the interactive page.

        Raises:
            UserError: If the image cannot be read, or the model has no prototypes to explain with.
        """
        return explain(self, image)

    def save_pretrained(self, save_directory: str | Path, **hub_arguments: Any) -> str | None:
        """Save the model as a bundle, with a model card; an existing folder is replaced as a whole.

        Args:
            save_directory: Folder of the bundle.
            **hub_arguments: Passed to :meth:`huggingface_hub.ModelHubMixin.save_pretrained` (``push_to_hub``, ...).

        Returns:
            The address of the commit with ``push_to_hub=True``, else None.

        Raises:
            UserError: If the folder cannot be written.
        """
        with replacing_folder(Path(save_directory)) as folder:
            hub_arguments.setdefault("repo_id", Path(save_directory).name)
            return super().save_pretrained(folder, **hub_arguments)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **hub_arguments: Any) -> Self:
        """Load a bundle from a folder or from the Hugging Face Hub; see :func:`load`."""
        return load_model(pretrained_model_name_or_path, cls, **hub_arguments)

    def _save_pretrained(self, save_directory: Path) -> None:
        bundle.write(self, save_directory)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Generate the model card (README.md) of the bundle, from the model itself."""
        return super().generate_model_card(*args, **card_values(self), **kwargs)


def load(name: str | Path, **hub_arguments: Any) -> SegmentationModel:
    """Load a trained model from a folder or from the Hugging Face Hub.

    Args:
        name: Folder of a bundle such as ``runs/demo/model``, or a Hub id such as ``someone/street-scenes``; or
            ``transformers/``, ``torchvision/`` or ``smp/`` and a segmentation model of that library.
        **hub_arguments: Passed to ``huggingface_hub.snapshot_download`` for a Hub id (revision, token, ...).

    Returns:
        The model in eval mode on the CPU.

    Raises:
        UserError: If it is not a bundle, or damaged.
    """
    return SegmentationModel.from_pretrained(name, **hub_arguments)
