"""Segmentation models of other libraries as black boxes, measured and explained through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torch import nn

import scaleprotoseg as sps
from scaleprotoseg.errors import UserError
from scaleprotoseg.formats.black_boxes import load_model
from scaleprotoseg.formats.bundle import load, save
from scaleprotoseg.model.encoders.classifier_input import NoClassifierError, find_classifier
from scaleprotoseg.training.black_box import recipe_over
from tests.builders.command_line import run
from tests.builders.images import LABELS, toy_sample, write_folder

IMAGES = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
TINY_PHASES = [
    argument
    for phase in ("prototypes", "groups", "fine-tune")
    for argument in (f"--phases.{phase}.steps", "2", f"--phases.{phase}.window", "2")
]


def segformer(folder: Path, **processor: object) -> tuple[str, nn.Module]:
    """A hierarchical transformer with the classes of the toy images."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(1)
    widths = {"hidden_sizes": [8, 16, 24, 32], "depths": [1] * 4, "num_attention_heads": [1, 1, 2, 2]}
    config = transformers.SegformerConfig(**widths, decoder_hidden_size=16, id2label=dict(enumerate(LABELS.names)))
    model = transformers.SegformerForSemanticSegmentation(config).eval()
    model.save_pretrained(folder)
    values = {"image_processor_type": "SegformerImageProcessor", "do_normalize": True, "do_resize": False, **processor}
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return f"transformers/{folder}", model


def mobilenet(folder: Path) -> tuple[str, nn.Module]:
    """DeepLabV3 as TensorFlow trains it: padded on both sides alike, and with the outermost cells at the corners."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(1)
    config = transformers.MobileNetV2Config(
        depth_multiplier=0.25, output_stride=16, tf_padding=True, id2label=dict(enumerate(LABELS.names))
    )
    model = transformers.MobileNetV2ForSemanticSegmentation(config).eval()
    model.save_pretrained(folder)
    values = {
        "image_processor_type": "MobileNetV2ImageProcessor",
        "do_center_crop": True,
        "crop_size": {"height": 161, "width": 161},
        "size": {"shortest_edge": 161},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return f"transformers/{folder}", model


def smp_model(folder: Path, name: str = "unet") -> tuple[str, nn.Module]:
    smp = pytest.importorskip("segmentation_models_pytorch", reason="segmentation_models_pytorch is not installed")
    torch.manual_seed(1)
    depth = {"encoder_depth": 3, "decoder_channels": (32, 16, 8)} if name == "unet" else {}
    model = smp.create_model(name, "resnet18", encoder_weights=None, classes=3, **depth).eval()
    model.save_pretrained(folder)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"class_names": list(LABELS.names)}))
    return f"smp/{folder}", model


def torchvision_model(folder: Path, classes: int = 3) -> tuple[str, nn.Module]:
    torch.manual_seed(1)
    model = torchvision.models.get_model(
        "deeplabv3_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=classes, aux_loss=True
    ).eval()
    folder.mkdir(exist_ok=True)
    torch.save(model.state_dict(), folder / "trained.pth")
    return f"torchvision/deeplabv3_mobilenet_v3_large:{folder / 'trained.pth'}", model


MODELS = {"segformer": segformer, "mobilenet": mobilenet, "smp": smp_model, "torchvision": torchvision_model}


def scores_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    output = model(images)
    return output if isinstance(output, torch.Tensor) else output.get("out", output.get("logits"))


@pytest.mark.parametrize("kind", ["segformer", "smp", "torchvision"])
@torch.no_grad()
def test_the_scores_are_those_of_the_model(tmp_path, kind):
    name, model = MODELS[kind](tmp_path / "model")
    network = load_model(name)
    expected = scores_of(model, (IMAGES - network.mean) / network.std)
    ours = network(IMAGES).logits
    if ours.shape != expected.shape:
        ours = F.interpolate(ours, size=expected.shape[-2:], mode="bilinear")
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    save(network, tmp_path / "bundle")
    torch.testing.assert_close(load(tmp_path / "bundle")(IMAGES).logits, network(IMAGES).logits, rtol=0, atol=0)


@torch.no_grad()
def test_aligned_cells_are_resampled_between_the_cells_of_the_model(tmp_path):
    name, _ = mobilenet(tmp_path)
    network = load_model(name)
    assert (network.encoder.config.pad, network.encoder.config.aligned, network.encoder.stride) == (161, True, 8)
    padded = F.pad((IMAGES - network.mean) / network.std, (0, 161 - 128, 0, 161 - 96))
    features = network.encoder.net(padded)
    whole = F.interpolate(features, size=(161, 161), mode="bilinear", align_corners=True)
    ours = network.encoder((IMAGES - network.mean) / network.std)
    assert ours.shape[-2:] == (12, 16)
    rows, columns = (torch.arange(n) * 8 + 3.5 for n in ours.shape[-2:])
    between = [whole[..., rows.long() + y, :][..., columns.long() + x] for y in (0, 1) for x in (0, 1)]
    torch.testing.assert_close(ours, torch.stack(between).mean(dim=0), rtol=1e-3, atol=1e-4)


def test_the_image_processor_says_how_images_are_prepared(tmp_path):
    name, _ = segformer(
        tmp_path, do_resize=True, size={"height": 64, "width": 80}, image_mean=[0.1] * 3, image_std=[0.4] * 3
    )
    read = load_model(name).config.input
    assert (read.size, read.mean, read.std) == ((64, 80), (0.1,) * 3, (0.4,) * 3)


@pytest.mark.parametrize("kind", MODELS)
def test_a_foreign_black_box_is_measured_predicts_and_is_explained(tmp_path, kind):
    name, _ = MODELS[kind](tmp_path / "model")
    data, names = write_folder(tmp_path / "data"), list(LABELS.names)
    if kind == "torchvision":  # its classes have no names
        (data / "classes.yaml").write_text("classes: [class 0, class 1, class 2]\n")
        names = ["class 0", "class 1", "class 2"]
    assert run("evaluate", name, "--data", data, "--out", tmp_path / "scores.json") == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert list(scores["iou"]) == names and scores["miou"] is not None
    assert run("predict", name, data / "images", "--out", tmp_path / "masks") == 0
    out = tmp_path / "run"
    assert run("train", "--from", name, "--data.name", data, "--data.crop", "[64, 64]", *TINY_PHASES, "--out", out) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["sparsity"]["prototypes_total"] > 0 and 0 <= metrics["agreement"]["pixel_accuracy"] <= 1
    logs = json.loads((out / "logs" / "durations.json").read_text())
    assert set(logs) == {"reading", "projecting", "training", "measuring"}
    assert sps.load(out / "model").explain(toy_sample(0).image).at(5, 5).groups


def test_images_without_masks_are_enough(tmp_path):
    name, _ = segformer(tmp_path / "model")
    data = write_folder(tmp_path / "data")
    arguments = ["--from", name, "--data.crop", "[64, 64]", *TINY_PHASES]
    assert run("train", *arguments, "--images", data / "images", "--out", tmp_path / "run") == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["miou"] is None and metrics["agreement"]["miou"] is not None and metrics["num_images"] == 2
    predicted = sps.load(name).predict(data / "images" / "toy-0.png")
    assert np.array_equal(predicted, np.array(Image.open(tmp_path / "run" / "masks" / "toy-0.png")))
    both = [*arguments, "--data.name", data, "--images", data / "images"]
    assert run("train", *both, "--out", tmp_path / "both") == 0
    metrics = json.loads((tmp_path / "both" / "metrics.json").read_text())
    assert metrics["miou"] is not None and metrics["agreement"] is not None


def test_scores_of_several_classifiers_are_refused_but_their_encoder_is_explained(monkeypatch, caplog):
    model = torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
    with pytest.raises(NoClassifierError, match="not those of one last convolution; explain one of its stages"):
        find_classifier(model, 21)
    monkeypatch.setattr(torchvision.models, "get_model", lambda *_, **__: model)
    recipe = recipe_over("torchvision/lraspp_mobilenet_v3_large")
    assert recipe["network"]["encoder"] == {"name": "torchvision/lraspp_mobilenet_v3_large", "pretrained": True}
    assert not any("distillation" in phase for phase in recipe["phases"].values())
    assert "only its encoder is used" in caplog.text


def test_what_is_no_model_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty.pth").write_bytes(b"")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    for name, message in [
        ("transformers/nowhere/at/all", "cannot be read"),
        ("smp/nowhere/at/all", "cannot be read"),
        ("torchvision/resnet18", "torchvision has no such|torchvision has deeplabv3"),
        (f"torchvision/fcn_resnet50:{tmp_path / 'none.pth'}", "none.pth"),
        (f"torchvision/fcn_resnet50:{tmp_path / 'other.pth'}", "has no classifier"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            load_model(name)
        assert "\n" not in str(caught.value)
