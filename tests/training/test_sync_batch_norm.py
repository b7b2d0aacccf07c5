"""Batch norm over several GPUs is put in and taken out again."""

from __future__ import annotations

import pytest
import torch

from scaleprotoseg.model.config import EncoderConfig
from scaleprotoseg.model.encoders.encoder import Encoder
from scaleprotoseg.training.sync_batch_norm import SyncNorms


@pytest.mark.parametrize("name", ["regnetx_002", "resnet10t", "unet16"])
def test_synchronized_norms_are_put_in_and_taken_out_without_a_trace(name):
    torch.manual_seed(0)
    encoder, images, sync = Encoder(EncoderConfig(name)).eval(), torch.rand(1, 3, 32, 32), SyncNorms()
    kinds = [type(module) for module in encoder.modules()]
    before = encoder(images)
    assert sync.apply(encoder) is encoder
    assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in encoder.modules())
    torch.testing.assert_close(encoder(images), before)
    norm = next(module for module in encoder.modules() if isinstance(module, torch.nn.SyncBatchNorm))
    norm.running_mean += 1  # as training does
    changed = encoder(images)
    sync.revert(encoder)
    assert [type(module) for module in encoder.modules()] == kinds
    torch.testing.assert_close(encoder(images), changed)
