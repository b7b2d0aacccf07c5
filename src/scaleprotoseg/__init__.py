"""Semantic segmentation that explains itself with multi-scale grouped prototypes.

>>> import scaleprotoseg as sps
>>> model = sps.load("runs/demo/model")
>>> why = model.explain("street.jpg").at(120, 80)
>>> why.class_name, why.logit, [group.contribution for group in why.groups]
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaleprotoseg.errors import UserError
    from scaleprotoseg.model.bundle import load
    from scaleprotoseg.model.config import EncoderConfig, HeadConfig, InputConfig, NetworkConfig, PyramidConfig
    from scaleprotoseg.model.network import Network
    from scaleprotoseg.model.output import Output

__version__ = version("scaleprotoseg")
__all__ = [
    "EncoderConfig",
    "HeadConfig",
    "InputConfig",
    "Network",
    "NetworkConfig",
    "Output",
    "PyramidConfig",
    "UserError",
    "load",
]

_HOMES = ("errors", "model.config", "model.output", "model.network", "model.bundle")


def __getattr__(name: str) -> Any:
    """Fetches a public name when it is first used, so that the command line answers before torch is loaded."""
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"{__name__}.{home}")
            if name in vars(module):
                globals()[name] = vars(module)[name]
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
