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
from training.evaluation.enrolling import flat
from training.manifests.files import Manifest
from training.manifests.images import load_row
from training.manifests.schema import Role, Row
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
    """What is left of an image; ``vector`` or ``template`` is None where there was no encoder, or it was refused.

    ``pixels`` is the image as the floor of every study sees it (:func:`training.evaluation.enrolling.flat`).
    """

    patient: str
    study: str
    view: str
    laterality: str
    distractor: bool
    vector: FloatArray | None
    template: Template | None
    pixels: FloatArray | None = None


def phantom_images(
    kind: str, persons: int, visits: int, distractors: int, seed: int, dials: Dials, processes: int = 1
) -> Iterator[Known]:
    """Phantoms as a node meets them, written as DICOM and read back; ``distractors`` have one visit each."""
    for row, images in phantom_studies(kind, persons, seed, visits, processes, dials):
        yield from (Known(row.patient_id, row.study, image) for image in images)
    if distractors:
        for row, images in phantom_studies(kind, distractors, seed + 1, 1, processes, dials):
            yield from (Known(row.patient_id, row.study, image, distractor=True) for image in images)


def manifest_images(manifest: Manifest, persons: int, distractors: int, seed: int) -> Iterator[Known]:
    """Images of ``persons`` patients with two studies or more, and of ``distractors`` others, both drawn by ``seed``.

    Images that cannot be loaded, or that the manifest leaves out of searches, are passed over.
    """
    rows: dict[str, list[Row]] = {}
    for row in manifest.rows():
        rows.setdefault(row.patient_id, []).append(row)
    order = np.random.default_rng(seed).permutation(sorted(rows)).tolist()
    several = [name for name in order if len({row.study for row in rows[name]}) > 1]
    searched = several[:persons]
    taken = set(searched)
    others = [name for name in order if name not in taken][:distractors]
    for name in (*searched, *others):
        for row in rows[name]:
            distractor = name not in taken or row.role is Role.DISTRACTOR
            yield from (Known(name, row.study, image, distractor) for image in load_row(manifest, row).images[:1])


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
            pixels=flat(image)[0],
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
