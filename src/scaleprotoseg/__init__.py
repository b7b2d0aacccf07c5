"""Semantic segmentation that explains itself with multi-scale grouped prototypes.

>>> import scaleprotoseg as sps
>>> model = sps.load("runs/demo/model")
>>> why = model.explain("street.jpg").at(120, 80)
>>> why.class_name, why.logit, [group.contribution for group in why.groups]
"""

from importlib.metadata import version

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
