"""The general encoder: pooled ImageNet features of EfficientNet-Lite0 for radiographs, fundus photographs and MR.

It was never shown a patient. It ranks a worklist and serves as the floor that better encoders have to beat.

The features, which are never negative, are compared as square roots of shares (Hellinger's distance), so that a few
strong ones do not decide alone; what all radiographs share is taken out as the mean of digital phantoms.

Network: M. Tan, Q. V. Le, "EfficientNet" (ICML 2019), in its Lite0 form (no squeeze-and-excitation, ReLU6);
input (pixel - 127) / 128, 224 x 224; 1280 features, averaged over space.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from config.errors import EncoderError, ImagingError
from inference.encoders.bundle import Bundle
from inference.encoders.common import encoding_of
from inference.encoders.device import choose_device, inference_pass
from inference.encoders.families import canonical_modality
from inference.encoders.inputs import MR_PERCENTILES, grey_bytes, resized, spread, without_border
from inference.types import Encoding, FloatArray, LoadedSeries, SeriesHeader

if TYPE_CHECKING:
    import torch

CENTRES_FILE = "centres.npz"


def load(bundle: Bundle, device: str, batch_size: int) -> GeneralEncoder:
    """Builds the encoder from its bundle; EncoderError when the weights do not fit the network."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    try:
        state = torch.load(io.BytesIO(bundle.package_bytes()), weights_only=True, map_location="cpu")
        network.load_state_dict(state, strict=True)
        settings = GeneralInput(**bundle.manifest.input)
        centres = _centres(bundle)
    except (RuntimeError, TypeError, ValueError) as error:
        raise EncoderError(f"bundle {bundle.manifest.name!r}: {error}", reason="BUNDLE_DAMAGED") from None
    return GeneralEncoder(bundle, network.eval(), choose_device(device), batch_size, settings, centres)


def _centres(bundle: Bundle) -> dict[str, FloatArray]:
    """Per modality family the mean embedding, float32 (dimension,); a bundle may have none."""
    if CENTRES_FILE not in bundle.manifest.files:
        return {}
    with np.load(io.BytesIO(bundle.bytes_of(CENTRES_FILE)), allow_pickle=False) as found:
        centres = {name: found[name].astype(np.float32) for name in found.files}
    if any(c.shape != (bundle.manifest.dimension,) or not np.isfinite(c).all() for c in centres.values()):
        raise ValueError(f"{CENTRES_FILE} does not fit the dimension")
    return centres


@dataclass(frozen=True, slots=True)
class GeneralInput:
    """How images become network input; the numbers stand in the bundle because a change makes a new version.

    size
        edge of the network's input in pixels.
    crop
        share of each side that is cut off a radiograph: markers, collimator edges and the format of the film are
        properties of the machine, not of the patient.
    slices, span
        how many slices of a volume are encoded, spread evenly over this central share of it.
    """

    size: int
    crop: float
    slices: int
    span: float

    def __post_init__(self) -> None:
        if not (32 <= self.size <= 1024 and 0 <= self.crop < 0.4 and 1 <= self.slices <= 64 and 0 < self.span <= 1):
            raise ValueError("the numbers of [input] are out of range")


class GeneralEncoder:
    """An :class:`~inference.encoders.protocol.Encoder`."""

    def __init__(
        self,
        bundle: Bundle,
        network: Any,
        device: torch.device,
        batch_size: int,
        settings: GeneralInput,
        centres: Mapping[str, FloatArray],
    ) -> None:
        self.name, self.version = bundle.manifest.name, bundle.manifest.version
        self.dimension = bundle.manifest.dimension
        self._network, self._device, self._batch_size, self._input = network.to(device), device, batch_size, settings
        self._bundle, self._centres = bundle, centres
        self._lock = threading.Lock()

    def without_centres(self) -> GeneralEncoder:
        """The same encoder before any mean is taken out: what the means are learned from."""
        return GeneralEncoder(self._bundle, self._network, self._device, self._batch_size, self._input, {})

    def accepts(self, series: SeriesHeader) -> bool:
        from inference.imaging.series import kind_of

        if not series.instances:
            return False
        kind = kind_of(series.instances[0])
        return kind in ("radiograph", "fundus", "photograph", "capture") or (
            kind == "volume" and series.modality == "MR"
        )

    def encode(self, images: Sequence[LoadedSeries]) -> Sequence[Encoding | None]:
        planes = [self._planes(image) for image in images]
        features = self._features([plane for group in planes for plane in group])
        encodings: list[Encoding | None] = []
        start = 0
        for image, group in zip(images, planes, strict=True):
            own = features[start : start + len(group)]
            start += len(group)
            encodings.append(self._encoding(image, own) if len(group) else None)
        return encodings

    def _encoding(self, image: LoadedSeries, features: FloatArray) -> Encoding | None:
        modality = canonical_modality(image.modality, image.kind)
        roots = np.sqrt(features / np.maximum(features.sum(axis=1, keepdims=True), 1e-6))
        mean = roots.mean(axis=0)
        if modality in self._centres:
            mean = mean - self._centres[modality]
        return encoding_of(image, self.name, self.version, mean)

    def _planes(self, image: LoadedSeries) -> list[NDArray[np.uint8]]:
        """uint8 (size, size, 3) planes of an image; none when the image is flat."""
        if image.kind == "volume" and image.modality != "MR":
            raise ImagingError(f"the encoder {self.name!r} takes no {image.modality} volumes", reason="ENCODER_KIND")
        pixels = image.pixels
        if pixels.size == 0 or not np.isfinite(pixels).all() or float(pixels.max()) <= float(pixels.min()):
            return []
        if image.kind in ("fundus", "photograph"):
            return [self._resized(pixels)]
        if image.kind == "radiograph":
            return [self._resized(grey_bytes(without_border(pixels, self._input.crop), 0.0, 1.0))]
        low, high = np.percentile(pixels, MR_PERCENTILES)
        indices = np.unique(spread(len(pixels), self._input.slices, self._input.span))
        return [self._resized(grey_bytes(pixels[index], float(low), float(high))) for index in indices]

    def _resized(self, plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        scaled = resized(plane, self._input.size, self._input.size)
        return scaled if scaled.ndim == 3 else np.repeat(scaled[..., None], 3, axis=2)

    def _features(self, planes: Sequence[NDArray[np.uint8]]) -> FloatArray:
        """float32 (n, dimension), not normalised."""
        import torch

        found = [np.empty((0, self.dimension), np.float32)]
        for start in range(0, len(planes), self._batch_size):
            stack = np.stack(planes[start : start + self._batch_size])
            # One pass at a time: threads share the network, and its memory is bounded by the batch.
            with self._lock, inference_pass(self._device):
                batch = torch.from_numpy(stack).to(self._device).permute(0, 3, 1, 2)
                maps = self._network.extract_features((batch.float() - 127) / 128)
                found.append(maps.float().mean((2, 3)).cpu().numpy())
        return np.concatenate(found)
