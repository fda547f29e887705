"""Volumes for tests of registration: phantom heads, and known motions of any volume."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from inference.types import LoadedSeries
from training.cohort import head_ct, person, visit

SEED = 8400


@cache
def phantom_head(number: int, visit_number: int = 0) -> LoadedSeries:
    pixels, affine = head_ct(person(SEED, number), visit(person(SEED, number), visit_number))
    return series(pixels.astype(np.float32), affine, uid=f"2.25.{number}{visit_number}")


def series(
    pixels: NDArray[np.float32], affine: NDArray[np.float64], modality: str = "CT", uid: str = "2.25.9"
) -> LoadedSeries:
    spacing = tuple(float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
    return LoadedSeries(uid, f"{uid}.1", (), modality, "volume", pixels, spacing, affine)


def moved(
    volume: LoadedSeries,
    degrees: tuple[float, float, float] = (0.0, 0.0, 0.0),
    spacing: tuple[float, float, float] = (2.0, 1.5, 1.5),
    keep: tuple[float, float] = (0.0, 1.0),
    noise: float = 0.0,
    size: float = 1.0,
) -> tuple[LoadedSeries, NDArray[np.float64]]:
    """The body lies otherwise on the table and is scanned anew; and the (4, 4) that takes the new scan onto the old.

    ``keep`` is the part of the height that is scanned, from below; ``size`` makes the body larger.
    """
    assert volume.affine is not None
    fill = float(volume.pixels.min())
    corners = np.array(np.meshgrid(*([0, length - 1] for length in volume.pixels.shape))).reshape(3, -1).T
    corners = corners @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    low, high = corners.min(axis=0), corners.max(axis=0)
    shift, middle = np.array([11.0, -7.0, 340.0]), (low + high) / 2
    back = np.eye(4)
    back[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() / size
    back[:3, 3] = middle - back[:3, :3] @ (middle + shift)
    affine = np.eye(4)
    affine[:3, :3] = np.fliplr(np.diag(spacing[::-1]))
    count = np.ceil((high - low)[::-1] / spacing).astype(int)
    first, last = (int(count[0] * share) for share in keep)
    affine[:3, 3] = low + shift + np.array([0.0, 0.0, first * spacing[0]])
    index = np.indices((last - first, *count[1:])).reshape(3, -1).T
    points = (index @ affine[:3, :3].T + affine[:3, 3]) @ back[:3, :3].T + back[:3, 3]
    source = (points - volume.affine[:3, 3]) @ np.linalg.inv(volume.affine[:3, :3]).T
    pixels = map_coordinates(volume.pixels, source.T, order=1, cval=fill).reshape(last - first, *count[1:])
    pixels = pixels + np.random.default_rng(0).normal(0.0, noise, pixels.shape) if noise else pixels
    return replace(series(pixels.astype(np.float32), affine, volume.modality), study_uid="2.25.8"), back


def apart(first: NDArray[np.float64], second: NDArray[np.float64], volume: LoadedSeries) -> tuple[float, float]:
    """Millimetres at the middle of the volume and degrees between two rigid motions of it."""
    assert volume.affine is not None
    middle = volume.affine @ np.array([*(np.array(volume.pixels.shape) / 2), 1.0])
    turn = Rotation.from_matrix(first[:3, :3] @ second[:3, :3].T)
    return float(np.linalg.norm((first @ middle - second @ middle)[:3])), float(np.degrees(turn.magnitude()))
