"""EfficientNet: M. Tan, Q. V. Le, "EfficientNet: rethinking model scaling for convolutional networks" (ICML 2019).

``efficientnet-lite0`` is the form without squeeze-and-excitation and with ReLU6, which quantises well; its ImageNet
weights come inside a package. ``efficientnet-b0`` is MONAI's, with fresh weights. Both have 1280 channels at stride 32.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from inference.networks.base import HeadSettings, SliceNetwork, Trunk

CHANNELS = 1280
_LITE0_BLOCKS = 16


@dataclass(frozen=True, slots=True)
class EfficientNetSettings:
    """What an EfficientNet can be told beside :class:`~inference.networks.base.HeadSettings`.

    pretrained
        start from the ImageNet weights (``efficientnet-lite0`` only: there are none for the other).
    drop_connect
        stochastic depth in training: the largest share of images whose residual branch is left out.
    blocks
        of ``efficientnet-lite0``, keep only so many of its 16 (0: all, and the layer of 1280 channels behind them). The
        first 11 end at stride 16 with 112 channels: shapes still, where the last ones name objects.
    """

    pretrained: bool = False
    drop_connect: float = 0.2
    blocks: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.drop_connect < 1:
            raise ValueError(f"drop_connect is {self.drop_connect}; it goes from 0 to less than 1")
        if not 0 <= self.blocks <= _LITE0_BLOCKS:
            raise ValueError(f"blocks is {self.blocks}; it goes from 0 (all) to {_LITE0_BLOCKS}")


def build(name: str, settings: Mapping[str, Any]) -> SliceNetwork:
    """See :func:`inference.networks.build`."""
    head, own = HeadSettings.taken_from(settings)
    found = trunk(name, EfficientNetSettings(**own))
    return SliceNetwork(found, found.channels, head)


def trunk(name: str, settings: EfficientNetSettings) -> Trunk:
    """The layers up to the local features: 1280 channels, or those of the last block that is kept."""
    return {"efficientnet-lite0": _lite0, "efficientnet-b0": _b0}[name](settings)


class _Lite0(nn.Module):
    """The package's network up to its features; the classifier, a third of its weights, is left out."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        network._fc = nn.Identity()
        self.network = network

    def forward(self, planes: Tensor) -> Tensor:
        return cast(Tensor, self.network.extract_features(planes))


class _FirstBlocks(nn.Module):
    """The package's network up to one of its blocks."""

    def __init__(self, network: Any, blocks: int, drop_connect: float) -> None:
        super().__init__()
        self.stem, self.norm = network._conv_stem, network._bn0
        self.blocks = network._blocks[:blocks]
        self._drops = [drop_connect * n / _LITE0_BLOCKS for n in range(blocks)]
        self.channels = int(self.blocks[-1]._bn2.num_features)

    def forward(self, planes: Tensor) -> Tensor:
        maps = functional.relu6(self.norm(self.stem(planes)))
        for block, drop in zip(self.blocks, self._drops, strict=True):
            maps = block(maps, drop_connect_rate=drop)
        return maps


def _lite0(settings: EfficientNetSettings) -> Trunk:
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0", drop_connect_rate=settings.drop_connect)
    if settings.pretrained:
        network.load_state_dict(torch.load(io.BytesIO(_imagenet_weights()), weights_only=True, map_location="cpu"))
    # The normalisation that those weights were trained with: (pixel - 127) / 128.
    scale = (127 / 255,) * 3, (128 / 255,) * 3
    if settings.blocks:
        first = _FirstBlocks(network, settings.blocks, settings.drop_connect)
        return Trunk(first, first.channels, *scale)
    return Trunk(_Lite0(network), CHANNELS, *scale)


def _b0(settings: EfficientNetSettings) -> Trunk:
    from monai.networks.nets.efficientnet import EfficientNetBN, MBConvBlock, efficientnet_params

    if settings.blocks:
        raise ValueError("blocks is for efficientnet-lite0")
    if settings.pretrained:
        raise ValueError("no weights are there to start efficientnet-b0 from; efficientnet-lite0 has some")
    name = "efficientnet-b0"
    network = EfficientNetBN(name, pretrained=False, spatial_dims=2, in_channels=3)
    # The memory-saving activation is an autograd function of its own, which cannot be exported.
    network.set_swish(memory_efficient=False)
    usual = efficientnet_params[name][-1]
    for block in network.modules():
        if isinstance(block, MBConvBlock):
            block.drop_connect_rate = (block.drop_connect_rate or 0.0) * settings.drop_connect / usual
    stem = (network._conv_stem_padding, network._conv_stem, network._bn0, network._swish)
    last = (network._conv_head_padding, network._conv_head, network._bn1, network._swish)
    return Trunk(nn.Sequential(*stem, network._blocks, *last), CHANNELS)


def _imagenet_weights() -> bytes:
    """The same file, by the same hash, as the bundle ``general``."""
    from inference.encoders.bundle import Bundle
    from inference.encoders.registry import package_bundles

    return Bundle.read(package_bundles() / "general").package_bytes()
