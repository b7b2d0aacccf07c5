"""Encoders from timm."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

import timm
from timm.models import FeatureListNet

from scaleprotoseg.errors import UserError, first_line
from scaleprotoseg.model.config import EncoderConfig
from scaleprotoseg.model.encoders import FAMILIES
from scaleprotoseg.model.encoders.backbone import Backbone, drops_borders, stages_of

log = logging.getLogger(__name__)


def build(
    config: EncoderConfig,
    in_channels: int,
    model: str | None = None,
    modify: Callable[[FeatureListNet], None] = lambda net: None,
) -> Backbone:
    """Build a timm model that returns the features of one or several stages.

    Args:
        config: The encoder; its ``name`` is timm's name of the model, unless ``model`` is given.
        in_channels: Channels of the image.
        model: timm's name of the model.
        modify: Changes the new model in place.

    Raises:
        UserError: If timm cannot build the model with this stride and stage, or its weights cannot be downloaded.
    """

    def create(pretrained: bool) -> FeatureListNet:
        blocks: dict[str, Any] = {} if config.blocks is None else {"layers": config.blocks}
        net = timm.create_model(
            model or config.name,
            pretrained=pretrained,
            features_only=True,
            output_stride=config.output_stride,
            out_indices=stages_of(config),
            in_chans=in_channels,
            **blocks,
        )
        modify(cast(FeatureListNet, net))
        return cast(FeatureListNet, net)

    try:
        net = create(pretrained=False)
        strides = net.feature_info.reduction()
        drops = drops_borders(net, in_channels, strides[-1])
    except Exception as error:  # timm and its model builders raise many types for a bad name, stride or stage.
        raise UserError(
            f"network.encoder: timm cannot build {config.name!r} at output stride {config.output_stride}, stage "
            f"{config.stage} ({first_line(error)}); choose a convolutional model from timm.list_models(), or a name "
            f"that begins with {', '.join(filter(None, FAMILIES))}"
        ) from error
    if config.pretrained and not config.weights:
        try:
            net = create(pretrained=True)
        except Exception as error:  # timm's downloaders raise many types, too.
            if config.pretrained != "try":
                raise UserError(
                    f"network.encoder: the weights of {config.name} cannot be downloaded ({first_line(error)}); "
                    "connect to the network once, or set pretrained to false and name a file in weights, or a "
                    "warm_start"
                ) from error
            log.warning(
                "the pretrained weights of %s cannot be downloaded: the encoder starts from random weights and will be "
                "less accurate; to avoid this, name a file in network.encoder.weights",
                config.name,
            )
    return Backbone(net, sum(net.feature_info.channels()), strides[0], config, strides[-1] if drops else 1)
