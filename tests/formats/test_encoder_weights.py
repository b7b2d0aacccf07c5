"""The warm start of an encoder."""

from __future__ import annotations

import pytest
import torch

from scaleprotoseg.errors import UserError
from scaleprotoseg.formats.bundle import save
from scaleprotoseg.formats.encoder_weights import is_weight_file, load_encoder
from tests.builders.networks import black_box, small_network


def test_warm_start_takes_the_encoder(tmp_path):
    box = black_box()
    save(box, tmp_path / "box")
    network = small_network()
    load_encoder(network, str(tmp_path / "box"))
    for ours, theirs in zip(network.encoder.state_dict().values(), box.encoder.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_warm_start_from_another_encoder_is_refused(tmp_path):
    save(black_box(encoder="resnet14t"), tmp_path / "box")
    with pytest.raises(UserError, match="its encoder is resnet14t"):
        load_encoder(small_network(), str(tmp_path / "box"))


def test_files_of_weights_are_told_by_their_name(tmp_path):
    (tmp_path / "folder.pth").mkdir()
    assert is_weight_file("deeplabv1_resnet101-coco.pth") and is_weight_file("model.pth.tar")
    assert not is_weight_file("runs/demo/model") and not is_weight_file(str(tmp_path / "folder.pth"))
