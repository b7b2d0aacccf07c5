"""The features that the last classifier of a segmentation model reads, and this classifier."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scaleprotoseg.errors import UserError
from scaleprotoseg.model.config import EncoderConfig, InputConfig
from scaleprotoseg.model.encoders.backbone import Backbone, probed

SIDE = 256
"""Side of the random image on which a model is examined, in pixels; a multiple of all strides."""


class NoClassifierError(UserError):
    """The class scores of a segmentation model are not those of one last convolution."""


class Classifier(NamedTuple):
    """The last classifier of a segmentation model.

    Attributes:
        name: Dotted name of the module, a convolution.
        aligned: True if the model upsamples its class scores so that the outermost cells lie on the outermost pixels.
    """

    name: str
    aligned: bool


class Description(NamedTuple):
    """Input and classes of a black box of another library.

    Attributes:
        classes: Names of its classes.
        input: Preparation of images.
        pad: Side to which smaller images are padded, or 0.
    """

    classes: tuple[str, ...]
    input: InputConfig
    pad: int = 0


class ClassifierInput(nn.Module):
    """A segmentation model as an encoder: it returns the features that its last classifier reads.

    Args:
        model: A model that maps images to class scores.
        classifier: Dotted name of the classifier in it.
    """

    def __init__(self, model: nn.Module, classifier: str) -> None:
        super().__init__()
        self.model = model
        self.name = classifier

    @property
    def classifier(self) -> nn.Conv2d:
        """The classifier, a convolution."""
        module = self.model.get_submodule(self.name)
        assert isinstance(module, nn.Conv2d)
        return module

    def forward(self, images: Tensor) -> Tensor:
        """Compute (B, channels, h, w) features of (B, 3, H, W) images."""
        features: list[Tensor] = []
        handle = self.classifier.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0]))
        try:
            self.model(images)
        finally:
            handle.remove()
        return features[-1]


@torch.no_grad()
def find_classifier(model: nn.Module, num_classes: int) -> Classifier:
    """Find the last classifier of a segmentation model, and how its scores are upsampled.

    Args:
        model: The model, which maps images to scores: a tensor, or an object or mapping with ``logits`` or ``out``.
        num_classes: Number of classes.

    Raises:
        NoClassifierError: If the scores are not those of one last 1x1 or 3x3 convolution, except for their size.
    """
    outputs: list[tuple[str, Tensor]] = []

    def watch(name: str, module: nn.Module) -> Any:
        return module.register_forward_hook(lambda module, inputs, output: outputs.append((name, output)))

    convolutions = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    handles = [watch(name, module) for name, module in convolutions if module.out_channels == num_classes]
    image = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    try:
        scores = scores_of(model.eval()(image))
    finally:
        for handle in handles:
            handle.remove()
    for name, output in reversed(outputs):
        for aligned in (False, True):
            same_size = F.interpolate(output, size=scores.shape[-2:], mode="bilinear", align_corners=aligned)
            if torch.allclose(same_size, scores, atol=1e-4, rtol=1e-3):
                _require_plain(model.get_submodule(name))
                return Classifier(name, aligned)
    raise NoClassifierError("its class scores are not those of one last convolution; explain one of its stages")


def scores_of(output: Any) -> Tensor:
    """Return the class scores in the output of a model of any library."""
    if isinstance(output, Tensor):
        return output
    scores = output["out"] if "out" in output else output["logits"]
    assert isinstance(scores, Tensor)
    return scores


def at_classifier(
    model: nn.Module, num_classes: int, config: EncoderConfig, multiple: int | None = None, remainder: int = 0
) -> Backbone:
    """Build an encoder from a segmentation model that returns the features that its last classifier reads.

    Args:
        model: The model.
        num_classes: Number of its classes.
        config: The encoder; if ``aligned`` is None, it is determined from how the model upsamples its scores.
        multiple: See :class:`~scaleprotoseg.model.encoders.backbone.Backbone`; None to find it.
        remainder: See there.

    Raises:
        NoClassifierError: If the model has no last classifier that is a 1x1 or 3x3 convolution.
        UserError: If it does not accept images of any size.
    """
    try:
        found = find_classifier(model, num_classes)
    except NoClassifierError as error:
        raise NoClassifierError(f"{config.name}: {error}") from error
    aligned = found.aligned if config.aligned is None else config.aligned
    backbone = probed(ClassifierInput(model, found.name), replace(config, aligned=aligned), multiple, remainder)
    return backbone._replace(unused_parameters=True)


def _require_plain(classifier: nn.Module) -> None:
    """Check that a classifier is a 1x1 or 3x3 convolution that a branch of a pyramid can represent."""
    assert isinstance(classifier, nn.Conv2d)
    kernel, padding = classifier.kernel_size, classifier.padding
    fits = (kernel, padding) in (((1, 1), (0, 0)), ((3, 3), (1, 1))) and classifier.stride == (1, 1)
    if not fits or classifier.dilation != (1, 1) or classifier.groups != 1 or classifier.padding_mode != "zeros":
        raise NoClassifierError(
            f"its last classifier is a convolution of another kind ({classifier}); explain one of its stages"
        )
