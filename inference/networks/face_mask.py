"""What of a depth image is face: a light encoder and decoder over two planes, depth and where it is known.

The face separation of the recognition of faces in CT, there an encoder and decoder on VGG16; here MONAI's residual
U-Net (E. Kerfoot et al., "Left-ventricle quantification using residual U-Net", STACOM 2018), far smaller.

Its face is not that of the networks that embed: ``forward(x)`` takes float32 (B, 2, S, S) as
:func:`inference.imaging.face_mask.planes_of` makes it and returns logits float32 (B, 1, S, S) of "face".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

PLANES = 2


@dataclass(frozen=True, slots=True)
class FaceMaskSettings:
    """``channels`` of the finest scale, doubled at each of the ``depth`` coarser ones."""

    channels: int = 12
    depth: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.channels <= 128:
            raise ValueError(f"channels is {self.channels}; it goes from 1 to 128")
        if not 1 <= self.depth <= 6:
            raise ValueError(f"depth is {self.depth}; it goes from 1 to 6")


class FaceMaskNetwork(nn.Module):
    """See the module. The edge of an image is a multiple of ``step``."""

    dimension = 1

    def __init__(self, settings: FaceMaskSettings) -> None:
        super().__init__()
        from monai.networks.nets.unet import UNet

        self.step = 2**settings.depth
        self.layers = UNet(
            spatial_dims=2,
            in_channels=PLANES,
            out_channels=1,
            channels=[settings.channels * 2**n for n in range(settings.depth + 1)],
            strides=[2] * settings.depth,
            num_res_units=1,
        )

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.layers(x)).float()


def build(name: str, settings: Mapping[str, Any]) -> FaceMaskNetwork:
    """See :func:`inference.networks.build`."""
    del name
    return FaceMaskNetwork(FaceMaskSettings(**settings))
