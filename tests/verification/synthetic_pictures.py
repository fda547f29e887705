"""Pictures that are somebody's: bands like ribs for films, branching trees for eyes; and what happens to pictures."""

from __future__ import annotations

import math
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.types import LoadedSeries


def loaded(pixels: NDArray[np.generic], kind: str = "radiograph", name: str = "1") -> LoadedSeries:
    return LoadedSeries(
        study_uid=f"1.2.{name}",
        series_uid=f"1.2.{name}.1",
        sop_instance_uids=(f"1.2.{name}.1.1",),
        modality={"radiograph": "DX", "fundus": "OP"}.get(kind, "CT"),
        kind=kind,  # type: ignore[arg-type]
        pixels=pixels,
        spacing=(math.nan, math.nan),
    )


@cache
def film(person: int, size: tuple[int, int] = (700, 600)) -> NDArray[np.float32]:
    """A film (rows, columns) in [0, 1] with curved bands like ribs and mottle, all drawn by the person's number."""
    rng = np.random.default_rng(person)
    rows, columns = size
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    u, v = x / columns * 2 - 1, y / rows * 2 - 1
    picture = 0.45 - 0.25 * np.exp(-(((np.abs(u) - 0.42) / 0.3) ** 2) - ((v + 0.1) / 0.7) ** 2)
    bend = rng.uniform(0.15, 0.4, 2)
    for place in np.linspace(-0.95, 0.95, 13) + rng.normal(0, 0.03, 13):
        arch = place + bend[0] * u * u + rng.normal(0, 0.04) * u + bend[1] * 0.2 * u**4
        picture += rng.uniform(0.06, 0.12) * np.exp(-(((v - arch) / rng.uniform(0.02, 0.035)) ** 2))
    for scale, strength in ((0.05, 0.05), (0.02, 0.03)):
        grain = rng.standard_normal((rows // 8 + 1, columns // 8 + 1)).astype(np.float32)
        mottle = cv2.GaussianBlur(grain, (0, 0), scale * columns / 8)
        picture += strength * cv2.resize(mottle / mottle.std(), (columns, rows), interpolation=cv2.INTER_CUBIC)
    return _kept(np.clip(picture, 0, 1).astype(np.float32))


def matrix(
    size: tuple[int, int], degrees: float = 0, scale: float = 1, shift: tuple[float, float] = (0, 0)
) -> NDArray[np.float64]:
    """(3, 3): turns and scales about the middle of a picture, then shifts by shares of its (columns, rows)."""
    rows, columns = size
    made = np.eye(3)
    made[:2] = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), degrees, scale)
    made[:2, 2] += np.array(shift) * (columns, rows)
    return made


def warped(picture: NDArray[np.generic], move: NDArray[np.float64]) -> NDArray[np.generic]:
    return np.asarray(cv2.warpAffine(picture, move[:2], picture.shape[1::-1], flags=cv2.INTER_CUBIC))


def cropped(picture: NDArray[np.generic], share: float) -> NDArray[np.generic]:
    rows, columns = picture.shape[:2]
    top, left = round(rows * share), round(columns * share)
    return picture[top : rows - top, left : columns - left]


@cache
def eye(person: int, size: int = 640, colour: tuple[float, float, float] = (0.75, 0.42, 0.2)) -> NDArray[np.uint8]:
    """A fundus photograph (size, size, 3): a disc, vessels that branch away from it, black outside of the field."""
    rng = np.random.default_rng(person)
    large = np.ones((size, size), np.float32)
    disc = np.array([0.72, 0.5]) + rng.normal(0, 0.02, 2)
    for start in np.concatenate([rng.normal(m, 0.25, 2) for m in (-2.4, -1.2, 1.2, 2.4, 3.1)]):
        _branch(large, rng, disc * size, float(start), size / 70, size)
    vessels = cv2.GaussianBlur(large, (0, 0), size / 500)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    light = 0.75 + 0.25 * np.cos(2.2 * np.hypot(x - 0.45, y - 0.5))
    spot = np.exp(-((((x - disc[0]) ** 2 + (y - disc[1]) ** 2) / 0.045**2) ** 2))
    inside = np.hypot(x - 0.5, y - 0.5) < 0.485
    planes = [
        np.clip(level * light * (1 - depth * (1 - vessels)) + 0.35 * spot * vessels, 0, 1) * inside
        for level, depth in zip(colour, (0.35, 0.6, 0.5), strict=True)
    ]
    noise = rng.normal(0, 1.5, (size, size, 3)) * inside[:, :, None]
    return _kept(np.clip(np.stack(planes, axis=2) * 255 + noise, 0, 255).astype(np.uint8))


def _kept(picture: NDArray[np.generic]) -> NDArray[np.generic]:
    """Drawn once and shared by all tests, none of which may draw on it."""
    picture.setflags(write=False)
    return picture


def _branch(
    canvas: NDArray[np.float32], rng: np.random.Generator, at: NDArray[np.float64], way: float, width: float, size: int
) -> None:
    bend = rng.normal(0, 0.03)
    for _ in range(int(rng.integers(6, 12))):
        following = at + size / 40 * np.array([np.cos(way), np.sin(way)])
        ends = [tuple(round(16 * value) for value in point) for point in (at, following)]
        cv2.line(canvas, ends[0], ends[1], 0.0, max(1, round(width)), cv2.LINE_AA, 4)
        at, way = following, way + bend + rng.normal(0, 0.08)
    if width > size / 320 and np.all((at > 0) & (at < size)):
        for side in (-1, 1):
            _branch(canvas, rng, at, way + side * rng.uniform(0.25, 0.6), width * rng.uniform(0.6, 0.85), size)
