"""Conversion of the checkpoints that the authors of ScaleProtoSeg and ProtoSeg publish to networks of this library.

In comments and names, "theirs" is the published module and "ours" is this library's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scaleprotoseg.data.labels import VOID, LabelTable
from scaleprotoseg.errors import UserError
from scaleprotoseg.formats.deeplab_weights import encoder_key, fill
from scaleprotoseg.formats.torch_file.modules import SavedModules, read_modules
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, InputConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.heads.groups import GroupHead
from scaleprotoseg.model.heads.prototypes import PrototypeHead
from scaleprotoseg.model.network import Network
from scaleprotoseg.model.prototypes import EPSILON, PrototypeLayer

BASE = "features.base."
"""Prefix of encoder and pyramid: they are inside a module that reads the image at several sizes."""

RESNETS: dict[tuple[int, ...], str] = {(3, 4, 6, 3): "caffe_resnet50", (3, 4, 23, 3): "caffe_resnet101"}
"""Our encoders by the number of blocks in each stage of the ResNet."""

RESNET_CHANNELS = 2048
UNET_WIDTH = 64

MOST_PROTOTYPES = 20_000
"""Largest number of prototypes; published models have up to 2184.

This limit and the next two keep a crafted file from causing allocations that are far larger than the file."""

MOST_GROUPS = 16
"""Largest number of groups per class; published models have 3."""

WIDEST_DILATION = 1000
"""Largest dilation, exclusive; published models have up to 24."""

Rename = Callable[[str], str | None]
"""Maps their name of a tensor or module to ours; None if ours has no counterpart."""


def load_official(path: Path, labels: LabelTable | None = None) -> Network:
    """Read a published checkpoint: a whole module written by ``torch.save``. No code in the file is run.

    Supported are ProtoSeg and both stages of ScaleProtoSeg (with and without groups), with a ResNet of DeepLabv2 or the
    U-Net, before and after projection and pruning.

    Args:
        path: The file.
        labels: Classes of the model, which a checkpoint does not contain; None names them "class 0", "class 1" and so
            on.

    Returns:
        The network in eval mode on the CPU. The sources of its prototypes are unknown.

    Raises:
        UserError: If the file cannot be read, has another architecture, or another number of classes.
    """
    saved = read_modules(path)
    encoder, channels, rename = _encoder(saved)
    pyramid = _pyramid(saved, channels)
    prototypes, num_classes = _prototypes(saved, pyramid)
    labels = labels or LabelTable.from_json({"classes": [f"class {index}" for index in range(num_classes)]})
    if len(labels) != num_classes:
        raise UserError(
            f"{path}: has {num_classes} classes but {len(labels)} are named, from {labels.names[0]} to "
            f"{labels.names[-1]}; name the classes it was trained with"
        )
    per_class = -(-len(prototypes) // (num_classes * prototypes.num_scales))
    config = NetworkConfig(encoder, pyramid, HeadConfig(prototypes=per_class), InputConfig(scales=_scales(saved)))
    network = Network(config, labels, "protoseg" if pyramid.fuse == "sum" else "scaleprotoseg")
    with torch.no_grad():
        _move_weights(saved, network.pyramid.branches, _branch_key)
        _move_weights(saved, network.encoder.net, rename)
        network.replace_head(_head(saved, prototypes, num_classes), [None] * len(prototypes))
    saved.tensors.pop("ones", None)
    if saved.tensors:
        raise _unsupported(saved, f"has the unknown tensor {min(saved.tensors)}")
    return network.eval()


def _unsupported(saved: SavedModules, what: str) -> UserError:
    return UserError(f"{saved.path}: {what}; only the architectures of the published checkpoints can be imported")


def _encoder(saved: SavedModules) -> tuple[EncoderConfig, int, Rename]:
    """Return the configuration of the encoder, the channels of its features, and the names of its tensors."""
    if f"{BASE}layer1.conv1.conv.weight" in saved.tensors:
        blocks = tuple(_count_blocks(saved, stage) for stage in range(4))
        name = RESNETS.get(blocks)
        return EncoderConfig(name or "caffe_resnet101", blocks=None if name else blocks), RESNET_CHANNELS, encoder_key
    stem = saved.tensors.get(f"{BASE}inc.double_conv.0.weight")
    if stem is None:
        raise _unsupported(saved, "its encoder is neither a ResNet of DeepLabv2 nor the U-Net")
    if stem.shape != (UNET_WIDTH, 3, 3, 3):
        raise _unsupported(
            saved, f"the first weights of its U-Net have shape {tuple(stem.shape)}, not ({UNET_WIDTH}, 3, 3, 3)"
        )
    return EncoderConfig("unet"), UNET_WIDTH, _unet_key


def _count_blocks(saved: SavedModules, stage: int) -> int:
    """Return the number of bottleneck blocks in a stage of their ResNet."""
    width = 64 << stage
    for block in count(1):
        middle = saved.tensors.get(f"{BASE}layer{stage + 2}.block{block}.conv3x3.conv.weight")
        if middle is None and block > 1:
            return block - 1
        if middle is None or middle.shape != (width, width, 3, 3):
            raise _unsupported(saved, f"stage {stage + 1} of its ResNet has no block {block} with {width} channels")
    raise AssertionError


def _unet_key(name: str) -> str | None:
    """Return the name in our U-Net of a tensor or module of theirs; None if it has no counterpart."""
    if part := re.fullmatch(r"inc\.double_conv\.(.+)", name):
        return f"stem.{part[1]}"
    if part := re.fullmatch(r"down([1-4])\.maxpool_conv\.1\.double_conv\.(.+)", name):
        return f"down.{int(part[1]) - 1}.{part[2]}"
    if part := re.fullmatch(r"up([1-4])\.(up|conv\.double_conv)\.(.+)", name):
        return f"{'up' if part[2] == 'up' else 'merge'}.{int(part[1]) - 1}.{part[3]}"
    if part := re.fullmatch(r"outc\.conv\.(.+)", name):
        return f"out.{part[1]}"
    return None


def _branch_key(name: str) -> str | None:
    """Return the name in our pyramid's branches of a tensor or module of their ASPP; None if it is not of the ASPP."""
    part = re.fullmatch(r"aspp\.c(\d+)\.(.+)", name)
    return part and f"{part[1]}.{part[2]}"


def _pyramid(saved: SavedModules, in_channels: int) -> PyramidConfig:
    """Return the configuration of the pyramid; ProtoSeg has no scales, its branches are summed."""
    dilations: list[int] = []
    channels: int | None = None
    for branch in count():
        name = f"{BASE}aspp.c{branch}"
        weight = saved.tensors.get(f"{name}.weight")
        if weight is None:
            break
        channels = channels or weight.shape[0]
        dilation = saved.attributes[name].get("dilation")
        rows = dilation[0] if type(dilation) is tuple and dilation else None
        fits = weight.shape == (channels, in_channels, 3, 3) and weight.numel() > 0
        if not fits or type(rows) is not int or not 0 < rows < WIDEST_DILATION:
            raise _unsupported(
                saved,
                f"branch {branch} of its pyramid is not a dilated 3x3 convolution with as many channels as the first",
            )
        dilations.append(rows)
    if channels is None:
        raise _unsupported(saved, "has no pyramid")
    kept_apart = "scale_num_prototypes" in saved.attributes[""]
    return PyramidConfig(tuple(dilations), channels, "keep" if kept_apart else "sum")


def _prototypes(saved: SavedModules, pyramid: PyramidConfig) -> tuple[PrototypeLayer, int]:
    """Return the prototypes, and the number of classes."""
    model = saved.attributes[""]
    if model.get("prototype_activation_function") != "log" or model.get("epsilon") != EPSILON:
        raise _unsupported(saved, f"its similarity is not log((d + 1) / (d + {EPSILON}))")
    if "scale_head" in saved.attributes:
        raise _unsupported(saved, "it has a scale head, which mixes the scales")
    vectors = saved.take("prototype_vectors", None, pyramid.channels, 1, 1)
    classes, num_classes = _one_hot(saved, "prototype_class_identity", len(vectors))
    num_scales = len(pyramid.dilations) if pyramid.fuse == "keep" else 1
    ranges = model.get("scale_num_prototypes", {0: (0, len(vectors))})
    layer = PrototypeLayer(
        classes, _prototype_scales(saved, ranges, num_scales, len(vectors)), pyramid.channels, num_scales
    )
    layer.vectors.data.copy_(vectors.flatten(1))
    return layer, num_classes


def _one_hot(saved: SavedModules, name: str, rows: int) -> tuple[Tensor, int]:
    """Return the (rows,) classes of a one-hot (rows, classes) matrix, and the number of classes."""
    identity = saved.take(name, rows, None)
    classes = identity.shape[1]
    if not (1 <= rows <= MOST_PROTOTYPES and 1 <= classes <= VOID):
        raise _unsupported(saved, f"{name} has {rows} rows and {classes} classes")
    owners = identity.double().argmax(dim=1)
    if not torch.equal(F.one_hot(owners, classes).double(), identity.double()):
        raise _unsupported(saved, f"{name} does not give every row exactly one class")
    return owners, classes


def _prototype_scales(saved: SavedModules, ranges: object, num_scales: int, num_prototypes: int) -> Tensor:
    """Return the (P,) scale of each prototype, from {scale: (first, last)} with last exclusive."""
    scales: list[int] = []
    if type(ranges) is dict and set(ranges) == set(range(num_scales)):
        for scale in range(num_scales):
            span = ranges[scale]
            if type(span) is not tuple or len(span) != 2 or not all(type(end) is int for end in span):
                break
            if span[0] == len(scales) and span[0] <= span[1] <= num_prototypes:
                scales += [scale] * (span[1] - span[0])
    if len(scales) != num_prototypes:
        raise _unsupported(
            saved, f"scale_num_prototypes does not assign {num_prototypes} prototypes to {num_scales} scales"
        )
    return torch.tensor(scales)


def _scales(saved: SavedModules) -> tuple[float, ...]:
    """Return the factors of the resized copies of the image; some checkpoints also list the factor 1 of the image."""
    scales: object = saved.attributes.get("features", {}).get("scales")
    if not isinstance(scales, (list, tuple)) or not all(
        type(scale) in (int, float) and 0 < scale <= 4 for scale in scales
    ):
        raise _unsupported(saved, "features.scales is not a list of factors")
    return tuple(float(scale) for scale in scales if scale != 1)


def _move_weights(saved: SavedModules, module: nn.Module, rename: Rename) -> None:
    """Move all tensors that ``rename`` knows into a module, whose layers must have the settings of the saved layers.

    Args:
        saved: The checkpoint; the moved tensors are removed from it.
        module: Our module; changed in place.
        rename: Names of the tensors in our module.
    """
    known = {name: rename(name.removeprefix(BASE)) for name in saved.tensors if name.startswith(BASE)}
    names = {theirs: ours for theirs, ours in known.items() if ours is not None}
    fill(module, {ours: saved.tensors.pop(theirs) for theirs, ours in names.items()}, saved.path)
    layers = {theirs.rpartition(".")[0]: ours.rpartition(".")[0] for theirs, ours in names.items()}
    for theirs, ours in layers.items():
        settings, layer = saved.attributes[theirs], module.get_submodule(ours)
        for setting in ("stride", "padding", "dilation", "groups", "eps"):
            if setting in settings and settings[setting] != getattr(layer, setting):
                raise _unsupported(saved, f"the {setting} of {theirs} is not {getattr(layer, setting)}")


def _head(saved: SavedModules, prototypes: PrototypeLayer, num_classes: int) -> PrototypeHead | GroupHead:
    """Return the head with its weights; they are removed from ``saved``."""
    if "last_layer.weight" in saved.tensors:
        head = PrototypeHead(prototypes, num_classes)
        head.classifier.copy_(saved.take("last_layer.weight", num_classes, len(prototypes)))
        return head
    classifier = saved.take("last_layer_group.weight", num_classes, None)
    weights = _group_weights(saved, prototypes, num_classes, classifier.shape[1])
    return _group_head(prototypes, num_classes, weights, classifier)


def _group_weights(
    saved: SavedModules, prototypes: PrototypeLayer, num_classes: int, num_groups: int
) -> dict[int, Tensor]:
    """Return the (K, J) group weights by class, in the order of the classifier's columns; ``saved`` loses them."""
    group_class, owning_classes = _one_hot(saved, "group_class_identity", num_groups)
    weights = [
        saved.take(f"group_projection.{index}.weight", None, None)
        for index in range(sum(name.startswith("group_projection.") for name in saved.tensors))
    ]
    groups = len(weights[0]) if weights else 0
    owners = group_class[::groups].tolist() if groups else []
    expected = [(groups, int((prototypes.prototype_class == owner).sum())) for owner in owners]
    if (
        not 1 <= groups <= MOST_GROUPS
        or owning_classes != num_classes
        or len(set(owners)) != len(owners)
        or group_class.tolist() != [owner for owner in owners for _ in range(groups)]
        or [tuple(rows.shape) for rows in weights] != expected
    ):
        raise _unsupported(saved, "its groups do not match its classes and prototypes")
    return dict(zip(owners, weights, strict=True))


def _group_head(
    prototypes: PrototypeLayer, num_classes: int, weights: dict[int, Tensor], classifier: Tensor
) -> GroupHead:
    """Return a head with groups for all classes; those that their head leaves out have weights of 0.

    Args:
        prototypes: The prototypes. Their head has no groups for classes without prototypes.
        num_classes: Number of classes C.
        weights: (K, J) group weights by class, in the order of the classifier's columns.
        classifier: (C, K * classes with groups) weights.
    """
    groups = len(next(iter(weights.values())))
    head = GroupHead(prototypes, num_classes, groups)
    head.weights.zero_()
    head.classifier.zero_()
    for columns, (owner, rows) in zip(torch.split(classifier, groups, dim=1), weights.items(), strict=True):
        head.weights[owner, :, : rows.shape[1]] = rows
        head.classifier[:, owner * groups : (owner + 1) * groups] = columns
    return head
