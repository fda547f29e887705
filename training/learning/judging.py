"""What a finished bundle is worth, measured through the very encoder that it will be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from config.errors import CalibrationError, ImagingError
from inference.calibration import Calibration, Scope
from inference.encoders.protocol import Encoder
from inference.gallery.protocol import GalleryEntry
from inference.types import Encoding, PatientKey
from training.calibrate import calibrate_from_embeddings
from training.evaluation.figures import Figure
from training.learning.catalogue import Image, Tell
from training.learning.recipe import Recipe
from training.learning.validation import figures_of
from training.manifests.images import load_row
from training.manifests.schema import Row

ROUNDS = 1000


@dataclass(frozen=True, slots=True)
class Encoded:
    """Images that gave an embedding, with their rows; ``failed`` did not."""

    rows: Sequence[Row]
    encodings: Sequence[Encoding]
    failed: int


def encode_images(encoder: Encoder, images: Sequence[Image], stage: str, tell: Tell) -> Encoded:
    """Loads and encodes images one by one, as the node does."""
    rows, encodings = [], []
    for done, image in enumerate(images, start=1):
        loaded = load_row(image.manifest, image.row).images
        try:
            found = encoder.encode(loaded[:1])[0] if loaded else None
        except ImagingError:
            found = None
        if found is not None:
            rows.append(replace(image.row, modality=found.modality))
            encodings.append(found)
        tell(stage, done, len(images))
    return Encoded(rows, encodings, len(images) - len(rows))


def measured(recipe: Recipe, encoded: Encoded) -> dict[str, Figure]:
    """Figures with 95 % intervals over patients, by name."""
    vectors = np.stack([one.vector for one in encoded.encodings])
    return dict(figures_of(recipe, encoded.rows, vectors, ROUNDS).by_name)


def metrics_table(encoded: Encoded, figures: Mapping[str, Figure]) -> dict[str, Any]:
    """``[metrics.SPLIT]``: each figure as [value, low, high] where it is defined, and how many images gave nothing."""
    patients = {(row.issuer, row.patient_id) for row in encoded.rows}
    known = {
        name: [round(number, 4) for number in (one.value, one.low, one.high) if number is not None]
        for name, one in figures.items()
        if one.value is not None
    }
    return {"images": len(encoded.rows), "patients": len(patients), "failed_to_enrol": encoded.failed} | known


def calibration_of(encoder: Encoder, encoded: Encoded, scope: Scope, fitted_on: str, seed: int) -> Calibration | None:
    """A calibration from images whose patients are known; None where they are too few."""
    entries = [
        GalleryEntry(
            number,
            PatientKey(row.issuer, row.patient_id),
            f"{row.issuer} {row.patient_id} {row.study}",
            one.vector,
            modality=one.modality,
            view=one.view,
            laterality=one.laterality,
            quality=one.quality,
        )
        for number, (row, one) in enumerate(zip(encoded.rows, encoded.encodings, strict=True), start=1)
    ]
    try:
        found, _ = calibrate_from_embeddings(
            entries, encoder=encoder.name, version=encoder.version, scope=scope, fitted_on=fitted_on, seed=seed
        )
    except CalibrationError as error:
        if error.reason != "CALIBRATION_TOO_LITTLE_DATA":
            raise
        return None
    return found


def scope_of(recipe: Recipe) -> Scope:
    """Of whom a calibration on the recipe's people speaks; never of a site's, who are the node's own to fit on."""
    return "phantom" if any(source.cohort is not None for source in recipe.sources) else "elsewhere"
