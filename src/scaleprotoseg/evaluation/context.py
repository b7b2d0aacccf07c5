"""A model under evaluation, with the intermediate results that several scores share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from scaleprotoseg.data.dataset import SegmentationDataset
from scaleprotoseg.inference.part_options import PAPER, PartOptions
from scaleprotoseg.model.network import Network
from scaleprotoseg.progress import Progress

_T = TypeVar("_T")


@dataclass(frozen=True)
class Context:
    """A model and a split to evaluate it on.

    Attributes:
        network: The model, in eval mode.
        dataset: A labeled split.
        options: Variant of consistency and stability.
        progress: Wraps the image indices to show progress.
    """

    network: Network
    dataset: SegmentationDataset
    options: PartOptions = PAPER
    progress: Progress = iter
    _results: dict[Callable[..., Any], Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, compute: Callable[[Context], _T]) -> _T:
        """Return ``compute(self)``; the function is called once, even if several scores need its result."""
        if compute not in self._results:
            self._results[compute] = compute(self)
        return cast(_T, self._results[compute])
