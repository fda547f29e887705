"""DenseNet: G. Huang et al., "Densely connected convolutional networks" (CVPR 2017), in MONAI's 2-D form.

Stride 32; 1024 channels for ``densenet121``, 1920 for ``densenet201``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from inference.networks.base import HeadSettings, SliceNetwork, Trunk

# Layers of each dense block, and channels of the last.
_FORMS: dict[str, tuple[tuple[int, ...], int]] = {
    "densenet121": ((6, 12, 24, 16), 1024),
    "densenet201": ((6, 12, 48, 32), 1920),
}


def build(name: str, settings: Mapping[str, Any]) -> SliceNetwork:
    """See :func:`inference.networks.build`; there are no settings beside those of the head."""
    from monai.networks.nets.densenet import DenseNet

    head, unknown = HeadSettings.taken_from(settings)
    if unknown:
        raise ValueError(f"{name} has no setting {', '.join(sorted(unknown))}")
    blocks, channels = _FORMS[name]
    network = DenseNet(spatial_dims=2, in_channels=3, out_channels=1, block_config=blocks)
    # The last block ends in a normalisation; the rectifier behind it is MONAI's classifier's.
    return SliceNetwork(Trunk(nn.Sequential(network.features, nn.ReLU()), channels), channels, head)
