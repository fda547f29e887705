"""What of a depth map is face: neck, hands, tubes, table and head rest are dropped by a network that knows a face.

The adjustment of intensity that follows in the paper on faces in CT, NX = C (SX - theta) / (max SX - theta), is a part
of how depth images are made: :func:`inference.imaging.depth_image.adjusted`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.errors import EncoderError
from inference.imaging.depth import BEFORE_MM, BEHIND_MM, DepthMap
from inference.imaging.head_frame import imaging_bundles
from inference.types import FloatArray

BUNDLE = NETWORK = "face-mask"
# A network that leaves less of what was seen has not understood it: everything stays.
_LEAST_KEPT = 0.25


class FaceSeparator:
    """Tells face from everything else with a network of the name ``face-mask``.

    Calling it fits ``separate`` of :class:`inference.imaging.depth_image.Camera`.

    Parameters
    ----------
    size
        edge of what the network sees, in pixels.
    """

    def __init__(self, network: Any, size: int, device: str = "cpu") -> None:
        from inference.encoders.device import choose_device

        self._device = choose_device(device)
        self._network = network.to(self._device).eval()
        self.size = size

    def __call__(self, found: DepthMap) -> NDArray[np.bool_]:
        """bool (size of the map, twice): where ``found`` shows face; a part of its mask."""
        import cv2

        likely = self.probability(planes_of(found.depth, found.mask, self.size))
        edge = found.mask.shape[0]
        kept = found.mask & (cv2.resize(likely, (edge, edge), interpolation=cv2.INTER_LINEAR) >= 0.5)
        return np.asarray(kept if kept.sum() >= _LEAST_KEPT * found.mask.sum() else found.mask)

    def probability(self, planes: FloatArray) -> FloatArray:
        """float32 (size, size) in [0, 1] that a pixel is face, of planes (2, size, size)."""
        import torch

        from inference.encoders.device import inference_pass

        with inference_pass(self._device):
            logits = self._network(torch.from_numpy(planes)[None].to(self._device))
            return np.asarray(torch.sigmoid(logits.float())[0, 0].cpu().numpy(), np.float32)


def planes_of(depth: FloatArray, mask: NDArray[np.bool_], size: int) -> FloatArray:
    """float32 (2, size, size): how near (1 is before the tip of the nose, 0 far behind or unknown), and how much of a
    pixel is known.

    ``depth`` (n, n) in millimetres behind the tip and its ``mask`` are averaged over the new pixels.
    """
    import cv2

    near = np.where(mask, (BEHIND_MM - depth) / (BEHIND_MM + BEFORE_MM), 0.0).astype(np.float32)
    shrinks = len(mask) > size
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    known = np.asarray(cv2.resize(mask.astype(np.float32), (size, size), interpolation=how))
    total = np.asarray(cv2.resize(near, (size, size), interpolation=how))
    mean = np.where(known > 1e-3, total / np.maximum(known, 1e-3), 0.0)
    return np.stack([np.clip(mean, 0.0, 1.0), known]).astype(np.float32)


def load_separator(folder: Path, device: str = "cpu") -> FaceSeparator:
    """The separator of a bundle.

    Raises
    ------
    EncoderError
        ``BUNDLE_DAMAGED`` when it cannot be used, or holds another network.
    """
    from inference.encoders.bundle import Bundle
    from inference.encoders.runtime import load_network

    bundle = Bundle.read(folder)
    model, size = bundle.manifest.model, bundle.manifest.input.get("size")
    if model is None or model.name != NETWORK or not isinstance(size, int) or not 32 <= size <= 1024:
        raise EncoderError(
            f"bundle {bundle.manifest.name!r} holds no network {NETWORK!r} with the size of its input; remove it",
            reason="BUNDLE_DAMAGED",
        )
    network: Any = load_network(bundle)
    if size % network.step:
        raise EncoderError(
            f"bundle {bundle.manifest.name!r}: its network takes multiples of {network.step} pixels, not {size}",
            reason="BUNDLE_DAMAGED",
        )
    return FaceSeparator(network, size, device)


@cache
def shipped_separator() -> FaceSeparator | None:
    """The separator of the bundle that ships with MedReID; None where there is none."""
    folder = imaging_bundles() / BUNDLE
    return load_separator(folder) if folder.is_dir() else None
