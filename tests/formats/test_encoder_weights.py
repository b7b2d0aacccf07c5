"""The warm start of an encoder."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from scaleprotoseg.errors import UserError
from scaleprotoseg.formats.bundle import save
from scaleprotoseg.formats.encoder_weights import is_weight_file, load_encoder
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.network import Network
from scaleprotoseg.training.curriculum import start
from scaleprotoseg.training.run_folder import RunFolder
from tests.builders.images import LABELS
from tests.builders.networks import black_box, small_network
from tests.builders.recipes import make_recipe


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


def network_with(**encoder: object) -> Network:
    torch.manual_seed(0)
    config = NetworkConfig(EncoderConfig("resnet18", **encoder), PyramidConfig((1,), 4), HeadConfig(prototypes=1))
    return Network(config, LABELS).eval()


@pytest.mark.parametrize("prefix", ["", "module.", "backbone."])
@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_weights_of_torchvision_and_timm_have_the_same_names(tmp_path, prefix, ending):
    torch.manual_seed(5)
    model = torchvision.models.resnet18().eval()
    state = {prefix + name: tensor.clone() for name, tensor in model.state_dict().items()}
    file = tmp_path / f"weights.{ending}"
    save_file(state, file) if ending == "safetensors" else torch.save(state, file)
    network = network_with(stage=3, output_stride=32)
    load_encoder(network, str(file))
    images = torch.rand(1, 3, 64, 64)
    expected = model.layer3(model.layer2(model.layer1(model.maxpool(model.relu(model.bn1(model.conv1(images)))))))
    torch.testing.assert_close(network.encoder(images), expected)


def test_the_weights_of_a_bundle_start_an_encoder(tmp_path, caplog):
    caplog.set_level("INFO")
    network = network_with(stage=2)
    save(network, tmp_path / "model")
    other = network_with(stage=2)
    torch.nn.init.zeros_(next(other.encoder.parameters()))
    load_encoder(other, str(tmp_path / "model" / "model.safetensors"))
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(other.encoder.parameters(), network.encoder.parameters(), strict=True)
    )
    assert "tensors are not used (pyramid." in caplog.text


def test_weights_that_do_not_fit_are_refused(tmp_path):
    state = {name: tensor.clone() for name, tensor in torchvision.models.resnet18().state_dict().items()}
    network = network_with()
    for name, change, message in [
        (
            "missing",
            {"layer1.0.conv1.weight": None},
            r"lacks 1 of 100 tensors .* \(layer1\.0\.conv1\.weight\)",
        ),
        ("shape", {"conv1.weight": torch.zeros(64, 1, 7, 7)}, r"conv1\.weight has shape \(64, 1, 7, 7\) instead of"),
    ]:
        changed = {key: tensor for key, tensor in (state | change).items() if tensor is not None}
        save_file(changed, tmp_path / f"{name}.safetensors")
        with pytest.raises(UserError, match=message):
            load_encoder(network, str(tmp_path / f"{name}.safetensors"))
    (tmp_path / "broken.safetensors").write_bytes(b"12345678")
    with pytest.raises(UserError, match=r"broken\.safetensors: cannot be read"):
        load_encoder(network, str(tmp_path / "broken.safetensors"))
    with pytest.raises(UserError, match=r"nowhere\.safetensors: no such file"):
        load_encoder(network, "nowhere.safetensors")


def test_a_recipe_starts_from_the_weights_of_a_file(tmp_path):
    network = network_with(stage=2)
    torch.nn.init.constant_(next(network.encoder.parameters()), 0.25)
    save_file({f"x.{n}": t for n, t in network.encoder.net.state_dict().items()}, tmp_path / "prefixed.safetensors")
    save_file(dict(network.encoder.net.state_dict()), tmp_path / "plain.safetensors")
    recipe = make_recipe(
        network={"encoder": {"name": "resnet18", "stage": 2, "weights": str(tmp_path / "plain.safetensors")}}
    )
    started, _ = start(recipe, LABELS, RunFolder(tmp_path / "run"))
    assert (next(started.encoder.parameters()) == 0.25).all() and started.config.encoder.weights is None
    with pytest.raises(UserError, match=r"network\.encoder\.weights: .*prefixed\.safetensors: lacks 50 of 50 tensors"):
        encoder = replace(recipe.network.encoder, weights=str(tmp_path / "prefixed.safetensors"))
        start(replace(recipe, network=replace(recipe.network, encoder=encoder)), LABELS, RunFolder(tmp_path / "run"))


def test_missing_pretrained_weights_can_be_done_without(monkeypatch, caplog):
    create = timm.create_model

    def offline(*args: object, pretrained: bool = False, **kwargs: object) -> object:
        if pretrained:
            raise OSError("offline")
        return create(*args, pretrained=False, **kwargs)

    monkeypatch.setattr(timm, "create_model", offline)
    assert network_with(stage=2, pretrained="try").config.encoder.pretrained is False
    assert "weights of resnet18 cannot be downloaded: the encoder starts from random weights" in caplog.text
    with pytest.raises(UserError, match="the weights of resnet18 cannot be downloaded"):
        network_with(stage=2, pretrained=True)


def test_several_stages_are_concatenated_at_the_size_of_the_first():
    network = network_with(stage=(2, 3, 4), output_stride=32)
    images = torch.rand(1, 3, 70, 90)
    maps = network.encoder.net(images)
    features = network.encoder(images)
    assert (network.encoder.stride, network.encoder.channels) == (8, 128 + 256 + 512)
    assert features.shape == (1, 896, 9, 12)
    torch.testing.assert_close(features[:, :128], maps[0])
    expected = torch.nn.functional.interpolate(maps[2], size=(9, 12), mode="bilinear")
    torch.testing.assert_close(features[:, 384:], expected)
