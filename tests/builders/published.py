"""Plain copies of the published models: the same module tree and the same arithmetic.

Files are written as by the authors (``torch.save`` of the whole module), from classes that no longer exist
when the file is read.
"""

from __future__ import annotations

import sys
import warnings
from collections import OrderedDict
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

MODULE = "published_models"
DILATIONS = (6, 12, 18, 24)


def unit(channels: int, out: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    padding = dilation if kernel == 3 else kernel // 2
    convolution = nn.Conv2d(channels, out, kernel, stride, padding, dilation, bias=False)
    return nn.Sequential(OrderedDict(conv=convolution, bn=nn.BatchNorm2d(out)))


class Bottleneck(nn.Module):
    def __init__(self, channels: int, out: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.reduce = unit(channels, out // 4, 1, stride)
        self.conv3x3 = unit(out // 4, out // 4, 3, 1, dilation)
        self.increase = unit(out // 4, out, 1)
        self.shortcut = unit(channels, out, 1, stride) if channels != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.increase(F.relu(self.conv3x3(F.relu(self.reduce(x))))) + self.shortcut(x))


class Aspp(nn.Module):
    def __init__(self, channels: int, out: int, apart: bool) -> None:
        super().__init__()
        self.apart = apart
        for index, rate in enumerate(DILATIONS):
            self.add_module(f"c{index}", nn.Conv2d(channels, out, 3, 1, rate, rate))

    def forward(self, x: Tensor) -> Tensor:
        maps = [branch(x) for branch in self.children()]
        return torch.cat(maps, 1) if self.apart else sum(maps[1:], maps[0])


class ResNet(nn.Sequential):
    """DeepLabv2 on a ResNet with bottleneck blocks."""

    def __init__(self, blocks: tuple[int, ...], out: int, apart: bool) -> None:
        stem = OrderedDict(conv1=unit(3, 64, 7, 2), relu=nn.ReLU(), pool=nn.MaxPool2d(3, 2, 1, ceil_mode=True))
        layers = OrderedDict(layer1=nn.Sequential(stem))
        channels = 64
        for stage, (count, stride, dilation) in enumerate(zip(blocks, (1, 2, 1, 1), (1, 1, 2, 4), strict=True)):
            wide = 256 << stage
            layers[f"layer{stage + 2}"] = nn.Sequential(
                OrderedDict(
                    (f"block{i + 1}", Bottleneck(wide if i else channels, wide, 1 if i else stride, dilation))
                    for i in range(count)
                )
            )
            channels = wide
        super().__init__(OrderedDict(layers, aspp=Aspp(channels, out, apart)))


class DoubleConv(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(before, out, 3, padding=1, bias=False) for before in (channels, out))
        parts = (first, nn.BatchNorm2d(out), nn.ReLU(), second, nn.BatchNorm2d(out), nn.ReLU())
        self.double_conv = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.double_conv(x)


class Down(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(channels, out))

    def forward(self, x: Tensor) -> Tensor:
        return self.maxpool_conv(x)


class Up(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, out, 2, 2)
        self.conv = DoubleConv(channels, out)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.up(x)
        down, right = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
        return self.conv(torch.cat([skip, F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))], 1))


class OutConv(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class UNet(nn.Module):
    def __init__(self, width: int, out: int, apart: bool) -> None:
        super().__init__()
        self.inc = DoubleConv(3, width)
        for level in range(1, 5):
            setattr(self, f"down{level}", Down(width << (level - 1), width << level))
        for level in range(1, 5):
            setattr(self, f"up{level}", Up(width << (5 - level), width << (4 - level)))
        self.outc = OutConv(width)
        self.aspp = Aspp(width, out, apart)

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.inc(x)]
        for level in range(1, 5):
            levels.append(getattr(self, f"down{level}")(levels[-1]))
        x = levels.pop()
        for level in range(1, 5):
            x = getattr(self, f"up{level}")(x, levels.pop())
        return self.aspp(self.outc(x))


class MultiInput(nn.Module):
    def __init__(self, base: nn.Module, scales: list[float]) -> None:
        super().__init__()
        self.base = base
        self.scales = scales

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.base(x)]
        for scale in self.scales:
            scaled = self.base(F.interpolate(x, scale_factor=scale, mode="bilinear"))
            maps.append(F.interpolate(scaled, maps[0].shape[-2:], mode="bilinear"))
        return torch.stack(maps).amax(0)


class Model(nn.Module):
    """Prototypes over features: ``members[scale][class]`` of them, or ``members[0][class]`` without scales."""

    def __init__(
        self, base: nn.Module, members: list[list[int]], channels: int, scales: list[float], apart: bool
    ) -> None:
        super().__init__()
        owners = [owner for counts in members for owner, count in enumerate(counts) for _ in range(count)]
        self.features = MultiInput(base, scales)
        self.add_on_layers = nn.Sequential(nn.Sigmoid())
        self.prototype_vectors = nn.Parameter(torch.rand(len(owners), channels, 1, 1))
        self.ones = nn.Parameter(torch.ones(len(owners), channels, 1, 1), requires_grad=False)
        self.prototype_class_identity = F.one_hot(torch.tensor(owners), len(members[0])).float()
        self.prototype_activation_function = "log"
        self.epsilon = 1e-4
        if apart:
            ends = torch.tensor([0, *(sum(counts) for counts in members)]).cumsum(0).tolist()
            self.scale_num_prototypes = {scale: (ends[scale], ends[scale + 1]) for scale in range(len(members))}
        self.last_layer = nn.Linear(len(owners), len(members[0]), bias=False)

    def distances(self, x: Tensor) -> Tensor:
        maps = self.add_on_layers(self.features(x))
        ranges = getattr(self, "scale_num_prototypes", {0: (0, len(self.ones))})
        found = [
            (part - self.prototype_vectors[index]).square().sum(1)
            for scale, part in enumerate(maps.chunk(len(ranges), 1))
            for index in range(*ranges[scale])
        ]
        return torch.stack(found, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores of normalized images."""
        distances = self.distances(x)
        similarities = torch.log((distances + 1) / (distances + self.epsilon)).movedim(1, -1)
        return self.scores(similarities).movedim(-1, 1)

    def scores(self, similarities: Tensor) -> Tensor:
        return self.last_layer(similarities)


class GroupModel(Model):
    """Groups for every class that has prototypes, and none for the other classes."""

    def __init__(self, *arguments, groups: int = 3) -> None:
        super().__init__(*arguments)
        del self.last_layer
        present = [index for index, count in enumerate(self.prototype_class_identity.sum(0)) if count > 0]
        counts = self.prototype_class_identity.sum(0).int().tolist()
        self.num_groups = groups
        self.group_projection = nn.ModuleList(nn.Linear(counts[index], groups, bias=False) for index in present)
        for projection in self.group_projection:
            projection.weight.data = torch.rand_like(projection.weight).square()
            projection.weight.data /= projection.weight.data.sum(1, keepdim=True)
        owners = torch.tensor(present).repeat_interleave(groups)
        self.group_class_identity = F.one_hot(owners, len(counts)).float()
        self.last_layer_group = nn.Linear(len(owners), len(counts), bias=False)

    def scores(self, similarities: Tensor) -> Tensor:
        present = self.group_class_identity.argmax(1)[:: self.num_groups].tolist()
        groups = [
            projection(similarities[..., self.prototype_class_identity[:, index] > 0]).exp()
            for index, projection in zip(present, self.group_projection, strict=True)
        ]
        return self.last_layer_group(torch.cat(groups, -1))


CLASSES = (Bottleneck, Aspp, ResNet, DoubleConv, Down, Up, OutConv, UNet, MultiInput, Model, GroupModel)


def write(model: nn.Module, path: Path, old: bool = False) -> Path:
    """Save a whole module as if its classes were defined elsewhere, where they cannot be imported from later."""
    homes = [kind.__module__ for kind in CLASSES]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, MODULE, ModuleType(MODULE))
        for kind in CLASSES:
            patch.setattr(kind, "__module__", MODULE)
            patch.setattr(sys.modules[MODULE], kind.__name__, kind, raising=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The old format also stores the source code of the classes if it finds it.
            torch.save(model, path, _use_new_zipfile_serialization=not old)
    assert homes == [kind.__module__ for kind in CLASSES] and MODULE not in sys.modules
    return path


def lively(model: nn.Module) -> nn.Module:
    """Return the model in eval mode, with batch norms whose statistics are not the initial ones."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.2, 0.2)
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
        elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight)
    return model.eval()
