"""Semantic segmentation that explains itself with multi-scale grouped prototypes.

Load a trained model, predict, and ask for an explanation:

>>> import scaleprotoseg as sps
>>> model = sps.load("runs/demo/model")  # doctest: +SKIP
>>> classes = model.predict("street.jpg")  # doctest: +SKIP
>>> why = model.explain("street.jpg").at(120, 80)  # doctest: +SKIP
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaleprotoseg.data.labels import LabelTable
    from scaleprotoseg.data.registry import open_dataset
    from scaleprotoseg.errors import UserError
    from scaleprotoseg.evaluation.metrics import Metrics, measure
    from scaleprotoseg.explanation.decomposition import PixelExplanation
    from scaleprotoseg.explanation.explanation import Explanation
    from scaleprotoseg.inference.part_options import PartOptions
    from scaleprotoseg.model.config import EncoderConfig, HeadConfig, InputConfig, NetworkConfig, PyramidConfig
    from scaleprotoseg.model.network import Network
    from scaleprotoseg.model.output import Output
    from scaleprotoseg.pretrained import SegmentationModel, load

__version__ = version("scaleprotoseg")
__all__ = [
    "EncoderConfig",
    "Explanation",
    "HeadConfig",
    "InputConfig",
    "LabelTable",
    "Metrics",
    "Network",
    "NetworkConfig",
    "Output",
    "PartOptions",
    "PixelExplanation",
    "PyramidConfig",
    "SegmentationModel",
    "UserError",
    "load",
    "measure",
    "open_dataset",
]

_MODULES = {
    "data.labels": ["LabelTable"],
    "data.registry": ["open_dataset"],
    "errors": ["UserError"],
    "evaluation.metrics": ["Metrics", "measure"],
    "explanation.decomposition": ["PixelExplanation"],
    "explanation.explanation": ["Explanation"],
    "inference.part_options": ["PartOptions"],
    "model.config": ["EncoderConfig", "HeadConfig", "InputConfig", "NetworkConfig", "PyramidConfig"],
    "model.network": ["Network"],
    "model.output": ["Output"],
    "pretrained": ["SegmentationModel", "load"],
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line starts without torch."""
    for module, names in _MODULES.items():
        if name in names:
            globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
