"""Encoders, which compute features of images. A new family is one file in this folder and one line here."""

from __future__ import annotations

FAMILIES: dict[str, str] = {
    "caffe_": "scaleprotoseg.model.encoders.caffe_resnet:build",
    "unet": "scaleprotoseg.model.encoders.unet:build",
    "torchvision/": "scaleprotoseg.model.encoders.torchvision_models:build",
    "transformers/": "scaleprotoseg.model.encoders.transformers_models:build",
    "smp/": "scaleprotoseg.model.encoders.smp_models:build",
    "": "scaleprotoseg.model.encoders.timm_models:build",
}
"""Builders by the prefix of an encoder's name; the first match counts. A builder takes the configuration and the number
of input channels, and returns a :class:`~scaleprotoseg.model.encoders.backbone.Backbone`."""
