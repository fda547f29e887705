"""The networks that bundles and recipes name. Each has the same face, so that training and serving know only that.

``forward(x, modality=None)``
    ``x`` float32 (B, T, 3, S, S) RGB in [0, 1], grey repeated, T slices (1 for images); ``modality`` int64 (B,)
    or None.
    Returns float32 (B, D): the embedding, averaged over slices, not normalised.
``local(x)``
    float32 (B, C, h, w): the local features before pooling, averaged over slices; C is D where nothing projects.
``dimension``
    D.

``landmarks-3d`` and ``face-mask`` find things in images instead of embedding them: their modules say what they take.

The normalisation of pixels is a part of the network: training and serving cannot differ in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from config.errors import EncoderError

if TYPE_CHECKING:
    import torch

# Name in a bundle or a recipe -> "module:function"; the function takes (name, settings) and is imported when asked for.
NETWORKS = {
    "vit-tiny": "inference.networks.mami:build",
    "vit-small": "inference.networks.mami:build",
    "vit-base": "inference.networks.mami:build",
    "mami-tiny": "inference.networks.mami:build",
    "mami-small": "inference.networks.mami:build",
    "mami-base": "inference.networks.mami:build",
    "efficientnet-lite0": "inference.networks.efficientnet:build",
    "efficientnet-b0": "inference.networks.efficientnet:build",
    "resnet18": "inference.networks.resnet:build",
    "resnet50": "inference.networks.resnet:build",
    "resnet101": "inference.networks.resnet:build",
    "densenet121": "inference.networks.densenet:build",
    "densenet201": "inference.networks.densenet:build",
    "vgg16": "inference.networks.vgg:build",
    "mobilenet-v2": "inference.networks.mobilenet:build",
    "convnext-tiny": "inference.networks.convnext:build",
    "depth-resnet18": "inference.networks.depth:build",
    "depth-resnet50": "inference.networks.depth:build",
    "hybrid": "inference.networks.hybrid:build",
    "modality-classifier": "inference.networks.classifier:build",
    "landmarks-3d": "inference.networks.landmarks:build",
    "face-mask": "inference.networks.face_mask:build",
    "boneprint-explicit": "inference.networks.boneprint_explicit:build",
    "boneprint-implicit": "inference.networks.boneprint_implicit:build",
    "boneprint-single": "inference.networks.boneprint_single:build",
}


def names() -> tuple[str, ...]:
    """Every network that can be built."""
    return tuple(NETWORKS)


def build(name: str, settings: Mapping[str, Any]) -> torch.nn.Module:
    """A network with fresh weights, on the CPU, in training mode.

    Raises
    ------
    EncoderError
        ``NETWORK_UNKNOWN`` when there is no such network, ``NETWORK_SETTINGS`` when it cannot take the settings.
    """
    if name not in NETWORKS:
        raise EncoderError(f"there is no network {name!r}; there are: {', '.join(NETWORKS)}", reason="NETWORK_UNKNOWN")
    module, _, function = NETWORKS[name].partition(":")
    make = getattr(import_module(module), function)
    try:
        network: torch.nn.Module = make(name, settings)
    except (TypeError, ValueError) as error:
        raise EncoderError(f"network {name!r} cannot take these settings: {error}", reason="NETWORK_SETTINGS") from None
    return network
