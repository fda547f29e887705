"""Networks of depth images: residual networks (K. He et al., CVPR 2016) of one channel that start from nothing.

``depth-resnet50`` is the published form (23.5 million weights behind 2048 channels). ``depth-resnet18`` is the light
twin, half as wide as its model (2.8 million weights, 256 channels): it keeps the plain convolutions that processors of
any kind run well and that train from nothing, where EfficientNet-Lite0 of a like size owes its accuracy to ImageNet,
which has no depth images, and trains three times slower on a CPU.

The planes of :mod:`inference.networks` are RGB; a depth image repeats its grey in all three, and the first is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from inference.networks.base import HeadSettings, SliceNetwork

NAMES = ("depth-resnet18", "depth-resnet50")

_PLANES = (64, 128, 256, 512)
# Kind of block, blocks per stage, channels out of a block for each within, and width where the settings are silent.
_FORMS: dict[str, tuple[str, list[int], int, float]] = {
    "depth-resnet18": ("basic", [2, 2, 2, 2], 1, 0.5),
    "depth-resnet50": ("bottleneck", [3, 4, 6, 3], 4, 1.0),
}
# Depth images are nearly half background (0); the rest lies between grey and white.
_MEAN, _DEVIATION = 0.4, 0.35


@dataclass(frozen=True, slots=True)
class DepthSettings:
    """``width`` multiplies all channels; 0 is the form's own."""

    width: float = 0.0

    def __post_init__(self) -> None:
        if self.width != 0.0 and not 0.0625 <= self.width <= 2.0:
            raise ValueError(f"width is {self.width:g}; it goes from 1/16 to 2, or is left out")


class DepthTrunk(nn.Module):
    """Planes float32 (N, 3, S, S) in [0, 1], of which the first counts, to features (N, ``channels``, S/32, S/32)."""

    def __init__(self, layers: nn.Module, channels: int) -> None:
        super().__init__()
        self.layers, self.channels = layers, channels

    def forward(self, planes: Tensor) -> Tensor:
        return cast(Tensor, self.layers((planes[:, :1] - _MEAN) / _DEVIATION))


def build(name: str, settings: Mapping[str, Any]) -> SliceNetwork:
    """See :func:`inference.networks.build`; settings are those of the head and :class:`DepthSettings`."""
    from monai.networks.nets.resnet import ResNet

    head, own = HeadSettings.taken_from(settings)
    block, layers, expansion, usual = _FORMS[name]
    planes = [round(channels * (DepthSettings(**own).width or usual)) for channels in _PLANES]
    network = ResNet(
        block, layers, planes, spatial_dims=2, n_input_channels=1, conv1_t_stride=2, shortcut_type="B",
        feed_forward=False, bias_downsample=False,
    )  # fmt: skip
    stages = (network.layer1, network.layer2, network.layer3, network.layer4)
    trunk = DepthTrunk(
        nn.Sequential(network.conv1, network.bn1, network.act, network.maxpool, *stages), planes[-1] * expansion
    )
    return SliceNetwork(trunk, trunk.channels, head)
