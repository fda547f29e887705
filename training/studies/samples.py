"""What a study of recognition is made of: images whose patients are known, each with its embedding and its template."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from config.errors import ImagingError
from inference.encoders.protocol import Encoder
from inference.types import FloatArray, LoadedSeries
from inference.verification.protocol import Template, Verifier
from training.cohort.visit import Dials
from training.recipes.phantoms import phantom_studies


@dataclass(frozen=True, slots=True)
class Known:
    """An image and whose it is. A ``distractor`` is enrolled and never searched for."""

    patient: str
    study: str
    image: LoadedSeries
    distractor: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """What is left of an image; ``vector`` or ``template`` is None where there was no encoder, or it was refused."""

    patient: str
    study: str
    view: str
    laterality: str
    distractor: bool
    vector: FloatArray | None
    template: Template | None


def phantom_images(
    kind: str, persons: int, visits: int, distractors: int, seed: int, dials: Dials, processes: int = 1
) -> Iterator[Known]:
    """Phantoms as a node meets them, written as DICOM and read back; ``distractors`` have one visit each."""
    for row, images in phantom_studies(kind, persons, seed, visits, processes, dials):
        yield from (Known(row.patient_id, row.study, image) for image in images)
    if distractors:
        for row, images in phantom_studies(kind, distractors, seed + 1, 1, processes, dials):
            yield from (Known(row.patient_id, row.study, image, distractor=True) for image in images)


def samples(images: Iterable[Known], encoder: Encoder | None, verifier: Verifier) -> Iterator[Sample]:
    """Encodes every image and makes its template; no more than one image is held at a time."""
    for known in images:
        image = known.image
        yield Sample(
            patient=known.patient,
            study=known.study,
            view=image.view,
            laterality=image.laterality,
            distractor=known.distractor,
            vector=None if encoder is None else _vector(encoder, image),
            template=_template(verifier, image),
        )


def _vector(encoder: Encoder, image: LoadedSeries) -> FloatArray | None:
    try:
        (encoding,) = encoder.encode([image])
    except ImagingError:
        return None  # counted by the study as a failure to enrol
    return None if encoding is None else np.asarray(encoding.vector, np.float32)


def _template(verifier: Verifier, image: LoadedSeries) -> Template | None:
    try:
        return verifier.template(image) if verifier.accepts(image) else None
    except ImagingError:
        return None  # counted by the study as a failure to enrol
