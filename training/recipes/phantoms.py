"""Phantom studies as an encoder meets them: written as DICOM, read back by the loader, and gone from the disk again."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from config.errors import ImagingError
from inference.encoders.protocol import Encoder
from inference.gallery.protocol import GalleryEntry
from inference.imaging.headers import read_header
from inference.imaging.series import load_series
from inference.types import Encoding, LoadedSeries, PatientKey, SeriesHeader
from training.cohort.cohort import CohortPlan, make_studies
from training.cohort.visit import Dials
from training.manifests.schema import Row

# Seeds of cohorts that must share no person; tests and the demo use others.
GENERAL_SEED, FACE_SEED, CALIBRATION_SEED, DECISIONS_SEED = 7000, 7100, 7200, 7400


def phantom_studies(
    kind: str,
    persons: int,
    seed: int,
    visits: int = 2,
    processes: int = 1,
    dials: Dials | None = None,
    first: int = 1,
) -> Iterator[tuple[Row, Sequence[LoadedSeries]]]:
    """Studies of phantoms from number ``first`` to ``persons``: each image with the truth about it, loaded."""
    with tempfile.TemporaryDirectory(prefix="medreid-phantoms-") as name:
        folder = Path(name)
        cohort = CohortPlan(persons, seed, visits, (kind,), dials or Dials())
        chosen = (one for one in cohort.studies() if one.number >= first)
        for rows in make_studies(folder, chosen, processes):
            for row in rows:
                path = folder / row.path
                files = sorted(path.iterdir()) if path.is_dir() else [path]
                yield row, load_files(files)
            shutil.rmtree(folder.joinpath(*Path(rows[0].path).parts[:2]))


def load_files(files: Sequence[Path]) -> Sequence[LoadedSeries]:
    """The usable images of one series in files."""
    headers = tuple(read_header(path) for path in files)
    return load_series(SeriesHeader(headers[0].study_uid, headers[0].series_uid, headers)).images


def phantom_embeddings(
    encoder: Encoder,
    kind: str,
    persons: int,
    seed: int,
    visits: int = 2,
    processes: int = 1,
    dials: Dials | None = None,
    first: int = 1,
) -> Iterator[GalleryEntry]:
    """Embeddings of phantom studies under their true patients; images that the encoder refuses are left out."""
    numbers = count(1)
    for row, images in phantom_studies(kind, persons, seed, visits, processes, dials, first):
        for encoding in encode_usable(encoder, images):
            yield GalleryEntry(
                next(numbers),
                PatientKey(row.issuer, row.patient_id),
                row.study,
                encoding.vector,
                modality=encoding.modality,
                view=encoding.view,
                laterality=encoding.laterality,
                quality=encoding.quality,
            )


def encode_usable(encoder: Encoder, images: Sequence[LoadedSeries]) -> list[Encoding]:
    """Embeddings of those images that the encoder takes."""
    found: list[Encoding | None] = []
    for image in images:
        try:
            found += encoder.encode([image])
        except ImagingError:
            continue  # a phantom without a face in view is left out, as a study without one would be
    return [encoding for encoding in found if encoding is not None]
