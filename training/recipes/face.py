"""Learns the mean face and the projection of the ``ct-face`` bundle from digital phantoms.

``python -m training.recipes.face --persons 60`` renders the phantoms, refines a mean face until faces lie still in it,
and fits a projection: principal components, then whitening by how much a person differs from visit to visit. That
within-person covariance is shrunk nearly all the way to a multiple of the identity: the unprojected difference tells
phantoms apart as well, and what only phantoms hold still must not be believed.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.errors import ImagingError
from inference.encoders.bundle import Bundle
from inference.encoders.ct_face import FITS_MM, WEIGHTS_FILE, FaceViewer, FaceWeights, depth_difference
from inference.encoders.registry import package_bundles
from inference.imaging.depth import EXTENT_MM, Face, find_face
from inference.types import FloatArray, LoadedSeries
from training.recipes.bundles import put_file
from training.recipes.phantoms import FACE_SEED, phantom_studies

SIZE = 64
# Persons whose faces make the first means, and how often these are refined.
MEAN_PERSONS, MEAN_ROUNDS = 12, 3
# The region that is compared, in millimetres from the tip of the nose, and the steepest mean surface inside it.
HALF_WIDTH, LOWEST, HIGHEST, STEEPEST = 70.0, -45.0, 80.0, 4.0
SHRINKAGE = 0.9


@dataclass(frozen=True, slots=True)
class Views:
    """Aligned depth maps (n, size, size) with NaN where unseen, and whose they are (n,)."""

    depths: FloatArray
    persons: NDArray[np.str_]


def first_mean(faces: Sequence[Face]) -> FloatArray:
    """A mean face from faces as they lay, refined by aligning them to it and averaging again."""
    from inference.encoders.face_alignment import Aligner, MeanFace
    from inference.imaging.depth import face_depth, frontal_pose

    poses = [frontal_pose(face) for face in faces]
    mean = np.empty(0, np.float32)
    for _ in range(MEAN_ROUNDS + 1):
        maps = [face_depth(face, pose, SIZE) for face, pose in zip(faces, poses, strict=True)]
        mean = mean_of(np.stack([np.where(item.mask, item.depth, np.float32(np.nan)) for item in maps]))
        aligner = Aligner(MeanFace(mean, EXTENT_MM / SIZE))
        poses = [aligner.align(face).pose for face in faces]
    return mean


def mean_of(depths: FloatArray) -> FloatArray:
    """Symmetric median of (n, size, size) depth maps, NaN where fewer than 60 % show a face."""
    shown = np.isfinite(depths).mean(axis=0) > 0.6
    middle = np.full(depths.shape[1:], np.nan, np.float32)
    middle[shown] = np.nanmedian(depths[:, shown], axis=0)
    return np.asarray((middle + middle[:, ::-1]) / 2, np.float32)


def region_of(mean: FloatArray, pixel_mm: float) -> NDArray[np.bool_]:
    """The pixels that are compared: forehead to upper lip, where the mean faces the viewer."""
    offsets = (np.arange(len(mean)) + 0.5 - len(mean) / 2) * pixel_mm
    down, right = np.gradient(mean, pixel_mm)
    height = -offsets[:, None]
    inside = (np.abs(offsets)[None, :] < HALF_WIDTH) & (height > LOWEST) & (height < HIGHEST)
    return np.asarray(inside & np.isfinite(mean) & (np.hypot(down, right) < STEEPEST))


def learn(views: Views, dimension: int, pixel_mm: float) -> FaceWeights:
    """Mean, region, centre and projection from aligned views with two or more of most persons."""
    mean = mean_of(views.depths)
    region = region_of(mean, pixel_mm)
    differences = np.stack([depth_difference(depth, mean, region) for depth in views.depths]).astype(np.float64)
    centre = differences.mean(axis=0)
    _, _, directions = np.linalg.svd(differences - centre, full_matrices=False)
    basis = directions[:dimension].T
    within = _within(differences @ basis, views.persons)
    shrunk = (1 - SHRINKAGE) * within + SHRINKAGE * np.trace(within) / dimension * np.eye(dimension)
    values, vectors = np.linalg.eigh(shrunk)
    return FaceWeights(
        mean_depth=mean,
        region=region,
        centre=centre.astype(np.float32),
        projection=(basis @ vectors / np.sqrt(values)).astype(np.float32),
        pixel_mm=pixel_mm,
    )


def _within(features: NDArray[np.float64], persons: NDArray[np.str_]) -> NDArray[np.float64]:
    """Covariance of what differs between visits of one person."""
    parts = [features[persons == name] for name in np.unique(persons)]
    centred = np.concatenate([part - part.mean(axis=0) for part in parts if len(part) > 1])
    freedom = sum(len(part) - 1 for part in parts)
    return np.asarray(centred.T @ centred / freedom)


def faces_of(images: Sequence[LoadedSeries]) -> list[Face]:
    found = []
    for image in images:
        try:
            found.append(find_face(image))
        except ImagingError:
            continue  # not every phantom has its face in view
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Learns the weights of ``ct-face`` and writes them into the bundle."""
    from rich.progress import track

    parser = argparse.ArgumentParser(prog="python -m training.recipes.face", description=main.__doc__)
    parser.add_argument("--seed", type=int, default=FACE_SEED, help="of the persons; no other use may share it")
    parser.add_argument("--persons", type=int, default=60)
    parser.add_argument("--visits", type=int, default=2)
    parser.add_argument("--processes", type=int, default=1)
    chosen = parser.parse_args(arguments)
    pixel = EXTENT_MM / SIZE
    few = phantom_studies("head-ct", MEAN_PERSONS, chosen.seed, 1, chosen.processes)
    faces = [face for _, images in track(few, "first mean", MEAN_PERSONS) for face in faces_of(images)]
    viewer = FaceViewer(first_mean(faces), pixel)
    del faces
    depths, persons = [], []
    studies = phantom_studies("head-ct", chosen.persons, chosen.seed, chosen.visits, chosen.processes)
    for row, images in track(studies, "faces", chosen.persons * chosen.visits):
        for image in images:
            try:
                view = viewer.view(image)
            except ImagingError:
                continue
            if view.residual_mm < FITS_MM:
                depths.append(view.depth)
                persons.append(row.patient_id)
    folder = package_bundles() / "ct-face"
    dimension = Bundle.read(folder).manifest.dimension
    put_file(folder, WEIGHTS_FILE, packed(learn(Views(np.stack(depths), np.asarray(persons)), dimension, pixel)))


def packed(weights: FaceWeights) -> bytes:
    """The weights as the contents of an .npz file; projections need no more than float16."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        mean_depth=weights.mean_depth,
        region=weights.region,
        centre=weights.centre,
        projection=weights.projection.astype(np.float16),
        pixel_mm=np.float32(weights.pixel_mm),
    )
    return buffer.getvalue()


if __name__ == "__main__":
    main()
