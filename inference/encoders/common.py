"""What every encoder of pictures does alike: judge its input, and label what it made of it."""

from __future__ import annotations

import numpy as np

from inference.encoders.families import canonical_modality, canonical_view
from inference.types import Encoding, FloatArray, LoadedSeries


def image_quality(image: LoadedSeries) -> float:
    """How much there is to see, in [0, 1]: the share of the grey range and of the size that a usable image has."""
    pixels = image.pixels if image.kind != "volume" else image.pixels[len(image.pixels) // 2]
    values = np.asarray(pixels, np.float32)
    low, high = np.percentile(values, (2, 98))
    spread = float(high - low) / max(float(values.max() - values.min()), 1e-6)
    detail = min(pixels.shape[:2]) / 224
    return float(np.clip(min(spread / 0.4, detail), 0.0, 1.0))


def encoding_of(image: LoadedSeries, name: str, version: str, features: FloatArray) -> Encoding | None:
    """The image's encoding with ``features`` (dimension,) normalised; None where they have no length."""
    length = float(np.linalg.norm(features))
    if not length > 1e-9:
        return None
    return Encoding(
        encoder=name,
        version=version,
        study_uid=image.study_uid,
        series_uid=image.series_uid,
        vector=(features / length).astype(np.float32),
        quality=image_quality(image),
        modality=canonical_modality(image.modality, image.kind),
        view=canonical_view(image.view),
        laterality=image.laterality,
    )
