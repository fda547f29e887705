"""ResNet: K. He et al., "Deep residual learning for image recognition" (CVPR 2016), in MONAI's 2-D form, fresh weights.

Stride 32; 512 channels for ``resnet18``, 2048 for ``resnet50`` and ``resnet101``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from inference.networks.base import HeadSettings, SliceNetwork, Trunk

# Kind of block, blocks per stage, channels of the last stage.
_FORMS: dict[str, tuple[str, list[int], int]] = {
    "resnet18": ("basic", [2, 2, 2, 2], 512),
    "resnet50": ("bottleneck", [3, 4, 6, 3], 2048),
    "resnet101": ("bottleneck", [3, 4, 23, 3], 2048),
}
_PLANES = [64, 128, 256, 512]


def build(name: str, settings: Mapping[str, Any]) -> SliceNetwork:
    """See :func:`inference.networks.build`; there are no settings beside those of the head."""
    head, unknown = HeadSettings.taken_from(settings)
    if unknown:
        raise ValueError(f"there is no setting {', '.join(sorted(unknown))}")
    layers = trunk(name)
    return SliceNetwork(layers, layers.channels, head)


def trunk(name: str) -> Trunk:
    """The layers up to the local features."""
    from monai.networks.nets.resnet import ResNet

    block, layers, channels = _FORMS[name]
    # MONAI's own resnet18 has shortcuts of type A, through which no gradient flows.
    network = ResNet(
        block, layers, _PLANES, spatial_dims=2, n_input_channels=3, conv1_t_stride=2, shortcut_type="B",
        feed_forward=False, bias_downsample=False,
    )  # fmt: skip
    stages = (network.layer1, network.layer2, network.layer3, network.layer4)
    return Trunk(nn.Sequential(network.conv1, network.bn1, network.act, network.maxpool, *stages), channels)
