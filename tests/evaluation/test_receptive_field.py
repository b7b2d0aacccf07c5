"""Receptive fields against adding up kernels, and against changing pixels."""

import pytest
import torch
from torch import nn

from scaleprotoseg.evaluation.receptive_field import receptive_fields
from tests.builders.encoders import Everything, Patches
from tests.builders.networks import patch_network, small_network


class Stack(nn.Module):
    """A sequence of convolutions and poolings."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.stride = nn.Sequential(*layers), 4

    def forward(self, images):
        return self.layers(images)


def added_up(layers, dilation):
    """(height, width) by adding up kernels (Araujo et al., 2019), with a last convolution of this dilation."""
    extents = []
    for axis in (0, 1):
        extent, jump = 1, 1
        for layer in layers:
            if hasattr(layer, "kernel_size"):
                kernel = (layer.kernel_size,) * 2 if isinstance(layer.kernel_size, int) else layer.kernel_size
                stride = (layer.stride,) * 2 if isinstance(layer.stride, int) else layer.stride
                extent += (kernel[axis] - 1) * jump
                jump *= stride[axis]
        extents.append(extent + 2 * dilation * jump)
    return tuple(extents)


STACKS = {
    "plain": lambda: [nn.Conv2d(3, 6, 3, padding=1)],
    "deep": lambda: [
        *(nn.Conv2d(3, 6, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
        *(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()),
    ],
    "flat": lambda: [nn.Conv2d(3, 6, (3, 7), stride=(1, 2)), nn.AvgPool2d(2), nn.Conv2d(6, 6, (1, 5))],
    "long": lambda: [nn.Conv2d(3, 6, 33, 4, 16), nn.Conv2d(6, 6, (65, 3), padding=(32, 1))],
}


@pytest.mark.parametrize("name", STACKS)
def test_the_field_is_what_kernels_add_up_to(name):
    torch.manual_seed(0)
    layers = STACKS[name]()
    network = patch_network(Stack(*layers), 6)
    assert receptive_fields(network) == [added_up(layers, 1), added_up(layers, 2)]


def test_far_branches_are_found_beyond_the_padding():
    network = patch_network(Patches(), 6, dilations=(1, 18, 24, 90))
    assert receptive_fields(network) == [(8 * cells,) * 2 for cells in (3, 37, 49, 181)]


def test_the_smallest_reading_of_an_image_reaches_furthest():
    (small, _), (large, _) = (receptive_fields(patch_network(Patches(), 6, scales=s))[0] for s in ((), (0.5,)))
    assert small == 24 and large > 48


def test_a_scale_without_weights_reads_nothing():
    network = patch_network(Patches(), 6)
    nn.init.zeros_(network.pyramid.branches[1].weight)
    assert receptive_fields(network) == [(24, 24), (0, 0)]


def test_pooling_over_the_image_has_no_end():
    assert receptive_fields(patch_network(Everything(), 6)) == [(None, None)] * 2


@torch.no_grad()
def test_changing_a_pixel_outside_changes_nothing_and_at_the_edge_something():
    network = small_network().double()
    random = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, 32, 256, generator=random, dtype=torch.double)
    cells = []
    for column in range(256):
        changed = image.clone()
        changed[..., column] += torch.randn(3, 32, generator=random)
        cells.append(network.pyramid_map(changed)[0, :, 2, 16])
    changes = torch.stack(cells) != network.pyramid_map(image)[0, :, 2, 16]
    for scale, (height, width) in enumerate(receptive_fields(network)):
        places = changes[:, scale * 8 : scale * 8 + 8].any(dim=1).nonzero().flatten().tolist()
        assert places[0] > 0 and places[-1] < 255 and height == width == places[-1] - places[0] + 1


def test_the_network_and_the_mode_stay_as_they_are():
    network = small_network()
    with torch.inference_mode():
        inside = receptive_fields(network)
        assert torch.is_inference_mode_enabled()
    with torch.no_grad():
        assert receptive_fields(network) == inside
        assert not torch.is_grad_enabled()
    assert all(p.dtype == torch.float32 and p.requires_grad for p in network.parameters())
