"""A data set with the classes of a model, which are matched by name."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from scaleprotoseg.data.dataset import PartTable, Sample, SegmentationDataset
from scaleprotoseg.data.labels import VOID, LabelTable
from scaleprotoseg.errors import UserError, first_line

log = logging.getLogger(__name__)


class Relabeled(SegmentationDataset):
    """A data set whose masks have the classes of a model.

    Args:
        dataset: The data set.
        labels: Classes of the model.
        target: For each class of the data set, the train id in ``labels``, or ``VOID``.
    """

    def __init__(self, dataset: SegmentationDataset, labels: LabelTable, target: Sequence[int]) -> None:
        self.name, self.split, self.labels = dataset.name, dataset.split, labels
        self._dataset = dataset
        self._target = np.full(VOID + 1, VOID, np.uint8)
        self._target[: len(target)] = target
        self._part = np.zeros(VOID + 1, np.uint8)
        if dataset.parts is not None:
            class_of = dict(zip(dataset.labels.names, target, strict=True))
            kept = [index for index, label in enumerate(dataset.parts.classes) if class_of[label] != VOID]
            self._part[np.array(kept, int) + 1] = np.arange(len(kept)) + 1
            self.parts = PartTable(
                tuple(dataset.parts.names[index] for index in kept),
                tuple(labels.names[class_of[dataset.parts.classes[index]]] for index in kept),
            )

    @property
    def sample_names(self) -> list[str]:
        """Names of the samples of the data set."""
        return self._dataset.sample_names

    def __getitem__(self, index: int) -> Sample:
        """Read one sample, and convert its annotations."""
        sample = self._dataset[index]
        points = sample.keypoints and tuple(
            replace(point, part=int(self._part[point.part])) for point in sample.keypoints if self._part[point.part]
        )
        return replace(
            sample,
            mask=None if sample.mask is None else self._target[sample.mask],
            parts=None if sample.parts is None else self._part[sample.parts],
            keypoints=points,
        )


def with_classes(
    labels: LabelTable, dataset: SegmentationDataset, mapping_file: Path | None = None
) -> SegmentationDataset:
    """Return a data set with the classes of a model.

    Classes are matched by name, without regard to case, spaces and punctuation. Pixels of a class that the model does
    not have count as unlabeled. What is unmatched is logged.

    Args:
        labels: Classes of the model.
        dataset: The data set.
        mapping_file: YAML file with lines ``class of the data: class of the model``, for classes whose names differ.

    Returns:
        The data set itself if it has the classes of the model already.

    Raises:
        UserError: If no class matches, the file is not such a mapping, or it names a class that does not exist.
    """
    mapping = {} if mapping_file is None else _read_mapping(mapping_file)
    names = dataset.labels.names
    if names == labels.names and not mapping:
        return dataset
    model_classes = {_plain(name): index for index, name in enumerate(labels.names)}
    for ours, theirs in mapping.items():
        if ours not in names:
            raise UserError(f"{mapping_file}: the data has no class {ours!r}; it has {', '.join(names)}")
        if _plain(theirs) not in model_classes:
            raise UserError(f"{mapping_file}: the model has no class {theirs!r}; it has {', '.join(labels.names)}")
    target = [model_classes.get(_plain(mapping.get(name, name)), VOID) for name in names]
    if all(index == VOID for index in target):
        raise UserError(
            f"{dataset.name}: its classes ({', '.join(names)}) are not the model's ({', '.join(labels.names)}); choose "
            "data with the same classes, or name their counterparts in a mapping file"
        )
    if missing := [name for name, index in zip(names, target, strict=True) if index == VOID]:
        log.warning("%s: the model has no class for %s; their pixels are ignored", dataset.name, ", ".join(missing))
    if absent := [name for index, name in enumerate(labels.names) if index not in target]:
        log.info("%s: has no class for %s of the model", dataset.name, ", ".join(absent))
    return Relabeled(dataset, labels, target)


def _read_mapping(path: Path) -> dict[str, str]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML ({first_line(error)}); correct the file") from error
    if not isinstance(content, dict) or not all(isinstance(name, (str, int)) for name in content.values()):
        raise UserError(f"{path}: is not a mapping of classes; write lines such as 'pot plant: pottedplant'")
    return {str(ours): str(theirs) for ours, theirs in content.items()}


def _plain(name: str) -> str:
    return re.sub(r"[^\w]|_", "", name.casefold()) or name
