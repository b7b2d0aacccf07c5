"""Pascal VOC 2012 segmentation, with the additional masks of Hariharan et al. (2011) as ``train_aug``."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from scaleprotoseg.data.files import PairedFiles, Pairing, PartSource, on_disk, pair_folders, require, whole_pairing
from scaleprotoseg.data.keypoints import Keypoints
from scaleprotoseg.data.labels import LabelTable, packaged_table
from scaleprotoseg.data.panoptic_parts import PanopticParts, find_part_masks
from scaleprotoseg.errors import UserError

AUGMENTED_LISTS = (
    "ImageSets/SegmentationAug/train_aug.txt",
    "ImageSets/Segmentation/train_aug.txt",
    "ImageSets/Segmentation/trainaug.txt",
    "list/train_aug.txt",
)
"""Paths below the root at which the list of the augmented training set may lie, as there is no official one."""

_OFFICIAL = "unpack VOCtrainval_11-May-2012.tar from the Pascal VOC 2012 page and give its VOC2012 folder as the root"
_TEST = "unpack VOC2012test.tar from the Pascal VOC evaluation server page into the same folders"
_AUGMENTED = (
    "get SegmentationClassAug.zip and the list train_aug.txt as the VOC 2012 page of kazuto1011/deeplab-pytorch says"
)
_PARTS = "give the folder of Pascal Panoptic Parts (download page of tue-mps/panoptic_parts), which holds labels/"


def voc2012(root: Path, split: str, parts: Path | None = None) -> PairedFiles:
    """Open one split of Pascal VOC 2012.

    Args:
        root: Folder ``VOC2012``, which holds ``JPEGImages/``, ``SegmentationClass/`` and ``ImageSets/``.
        split: ``train`` (1464 images), ``val`` (1449 images), ``train_aug`` (10582 training images with the masks of
            ``SegmentationClassAug/``) or ``test`` (1456 images without labels).
        parts: Folder of Pascal Panoptic Parts, or a keypoints file, see
            :class:`~scaleprotoseg.data.keypoints.Keypoints`; None to read no parts.

    Raises:
        UserError: If lists, images, masks or part labels are missing or do not match.
    """
    remedy = _TEST if split == "test" else _OFFICIAL
    masks: Path | None
    if split == "train_aug":
        places = [root / place for place in AUGMENTED_LISTS]
        listed = require(next((place for place in places if on_disk(place)), places[0]), _AUGMENTED)
        masks = require(root / "SegmentationClassAug", _AUGMENTED)
    else:
        listed = require(root / "ImageSets" / "Segmentation" / f"{split}.txt", remedy)
        masks = None if split == "test" else require(root / "SegmentationClass", remedy)
    images = require(root / "JPEGImages", remedy)
    names = _read_names(listed)
    found = pair_folders(images, masks)
    pairing = Pairing(
        pairs={name: found.pairs[name] for name in names if name in found.pairs},
        unlabelled={name: found.unlabelled[name] for name in names if name in found.unlabelled},
        orphans=[],
        faults=found.faults
        + [
            f"{images / name}.jpg: is missing but listed in {listed}; {remedy}"
            for name in names
            if name not in found.pairs
        ],
    )
    labels = packaged_table("voc2012")
    return whole_pairing("voc2012", split, pairing, labels, None if parts is None else _part_source(parts, labels))


def _read_names(path: Path) -> list[str]:
    """Read the image names of a list with lines ``NAME`` or ``/JPEGImages/NAME.jpg /SegmentationClassAug/NAME.png``."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error}); replace it") from error
    return [PurePosixPath(line.split()[0]).stem for line in lines if line.strip()]


def _part_source(parts: Path, labels: LabelTable) -> PartSource:
    if not (on_disk(parts) and parts.is_dir()):
        return Keypoints(parts, labels)
    # Panoptic Parts is split differently from VOC, so that the parts of an image may be in either folder.
    folders = [parts / "labels" / half for half in ("training", "validation")]
    return PanopticParts("parts/voc2012", labels, find_part_masks(folders, _PARTS))
