"""Encoders of other libraries' segmentation models."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
import torchvision

from scaleprotoseg.errors import UserError
from scaleprotoseg.formats.bundle import load, save
from scaleprotoseg.formats.encoder_weights import load_encoder
from scaleprotoseg.model.config import EncoderConfig, HeadConfig, InputConfig, NetworkConfig, PyramidConfig
from scaleprotoseg.model.encoders.encoder import Encoder
from scaleprotoseg.model.network import Network
from scaleprotoseg.training.black_box import recipe_over
from tests.builders.images import LABELS

LRASPP = "torchvision/lraspp_mobilenet_v3_large"
IMAGES = torch.rand(2, 3, 70, 90, generator=torch.Generator().manual_seed(0))


def segformer(folder, **processor):
    """Save a small model with random weights and its image processor, as transformers does."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    widths = {"hidden_sizes": [8, 16, 24, 32], "depths": [1] * 4, "num_attention_heads": [1, 1, 2, 2]}
    config = transformers.SegformerConfig(**widths, decoder_hidden_size=16, num_labels=5)
    torch.manual_seed(1)
    model = transformers.SegformerForSemanticSegmentation(config).eval()
    model.save_pretrained(folder)
    values = {"image_processor_type": "SegformerImageProcessor", "do_normalize": True, **processor}
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return model


def network_over(encoder: EncoderConfig) -> Network:
    torch.manual_seed(2)
    config = NetworkConfig(encoder, PyramidConfig((1, 2), channels=8), HeadConfig(prototypes=1), InputConfig())
    return Network(config, LABELS).eval()


@pytest.mark.parametrize(("stage", "channels", "stride"), [(-1, 32, 32), (1, 16, 8)])
def test_a_transformers_encoder_gives_the_models_feature_maps(tmp_path, stage, channels, stride):
    model = segformer(tmp_path)
    encoder = Encoder(EncoderConfig(f"transformers/{tmp_path}", stage, pretrained=True)).eval()
    expected = model.segformer(IMAGES, output_hidden_states=True).hidden_states[stage]
    assert (encoder.channels, encoder.stride) == (channels, stride)
    torch.testing.assert_close(encoder(IMAGES), expected)


def test_a_bundle_holds_all_of_a_transformers_encoder(tmp_path):
    segformer(tmp_path / "hub")
    network = network_over(EncoderConfig(f"transformers/{tmp_path / 'hub'}", 1, pretrained=True))
    save(network, tmp_path / "model")
    for file in (tmp_path / "hub").iterdir():
        file.unlink()
    again = load(tmp_path / "model")
    assert torch.equal(again(IMAGES).logits, network(IMAGES).logits)
    assert again.config == replace(network.config, encoder=replace(network.encoder.config, pretrained=False))
    assert "id2label" not in network.encoder.config.architecture


def test_a_model_in_half_precision_is_read_in_single(tmp_path):
    segformer(tmp_path).half().save_pretrained(tmp_path)
    for pretrained in (True, False):
        encoder = Encoder(EncoderConfig(f"transformers/{tmp_path}", 1, pretrained=pretrained))
        assert {tensor.dtype for tensor in encoder.parameters()} == {torch.float32}


def test_a_bundle_runs_no_code_of_its_own(tmp_path, monkeypatch):
    segformer(tmp_path / "hub")
    save(network_over(EncoderConfig(f"transformers/{tmp_path / 'hub'}", 1)), tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    values = json.loads(file.read_text())
    where = values["network"]["encoder"] if "network" in values else values["encoder"]
    where["architecture"]["auto_map"] = {"AutoModelForSemanticSegmentation": "someone/else--model.Theirs"}
    file.write_text(json.dumps(values))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked whether code may run"))
    try:
        network = load(tmp_path / "model")
    except UserError:
        return
    assert type(network.encoder.net.encoder).__module__.startswith("transformers.")


def test_a_backbone_of_its_own_gives_its_feature_maps(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    stages = [f"stage{number}" for number in range(1, 5)]
    widths = {"hidden_sizes": [8, 16, 24, 32], "depths": [1] * 4, "out_features": stages}
    config = transformers.UperNetConfig(
        backbone_config=transformers.ConvNextConfig(**widths), hidden_size=16, auxiliary_in_channels=24
    )
    model = transformers.UperNetForSemanticSegmentation(config).eval()
    model.save_pretrained(tmp_path)
    encoder = Encoder(EncoderConfig(f"transformers/{tmp_path}", 1, pretrained=True)).eval()
    images = IMAGES[:, :, :64, :64]
    torch.testing.assert_close(encoder(images), model.backbone(images).feature_maps[1])
    assert "id2label" not in json.dumps(encoder.config.architecture)
    assert encoder(IMAGES).shape[-2:] == (9, 12)  # patch embeddings drop borders, but all pixels of an image must count


def test_a_torchvision_encoder_starts_from_a_file_of_the_whole_model(tmp_path):
    torch.manual_seed(3)
    model = torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None).eval()
    torch.save(model.state_dict(), tmp_path / "model.pth")
    network = network_over(EncoderConfig(LRASPP))
    load_encoder(network, str(tmp_path / "model.pth"))
    torch.testing.assert_close(network.encoder(IMAGES), model.backbone(IMAGES)["high"])
    assert (network.encoder.channels, network.encoder.stride) == (960, 16)
    other = {name: tensor for name, tensor in model.state_dict().items() if "backbone.16" not in name}
    torch.save(other, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other\.pth: lacks 5 of 262 tensors of .* \(backbone\.16"):
        load_encoder(network, str(tmp_path / "other.pth"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (EncoderConfig("torchvision/resnet18"), "torchvision has deeplabv3_mobilenet_v3_large"),
        (EncoderConfig(LRASPP, stage=2), "only its last stage is available; set stage to -1"),
        (EncoderConfig("transformers/nowhere/at/all"), "transformers/nowhere/at/all cannot be built"),
    ],
)
def test_what_is_no_encoder_is_one_line(config, message, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=message) as caught:
        Encoder(config)
    assert "\n" not in str(caught.value)


def test_an_encoder_of_single_vectors_is_refused(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.DPTConfig(**sizes, backbone_out_indices=[0, 0, 1, 1], neck_hidden_sizes=[8] * 4)
    transformers.DPTForSemanticSegmentation(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"gives no feature maps for images of any size .*hierarchical encoder"):
        Encoder(EncoderConfig(f"transformers/{tmp_path}"))


def test_bands_need_an_encoder_that_reads_them():
    with pytest.raises(UserError, match="reads red, green and blue; give three channels"):
        Encoder(EncoderConfig(LRASPP), in_channels=5)


def test_without_transformers_its_encoders_are_refused(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(UserError, match=r"needs transformers, which is not installed; pip install"):
        Encoder(EncoderConfig("transformers/nvidia/segformer-b0"))


def test_recipes_over_other_libraries_models(tmp_path):
    segformer(tmp_path, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6])
    recipe = recipe_over(f"transformers/{tmp_path}")
    assert recipe["network"]["encoder"]["stage"] == "classifier" and recipe["warm_start"] == f"transformers/{tmp_path}"
    read = recipe["network"]["input"]
    assert (list(read["mean"]), list(read["std"])) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert recipe["phases"]["prototypes"]["distillation"] == 1.0
    segformer(tmp_path / "plain", do_normalize=False)
    plain = recipe_over(f"transformers/{tmp_path / 'plain'}")["network"]["input"]
    assert (list(plain["mean"]), list(plain["std"])) == ([0.0] * 3, [1.0] * 3)
    timm = recipe_over("timm/tf_efficientnetv2_s.in21k")["network"]
    assert timm["encoder"]["name"] == "tf_efficientnetv2_s.in21k" and timm["input"]["mean"] == [0.5] * 3
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match="its image processor cannot be read"):
        recipe_over(f"transformers/{tmp_path}")
