"""A cone beam onto a flat detector: where points fall, and line integrals of thin structures laid down as splats.

The beam runs along the patient frame's y axis. A rod is a row of equal ellipsoids; the line integral through an
ellipsoid is its chord, so their weighted sum is the line integral through the rod without any volume being sampled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.cohort.implicit import Field, Matrix

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Beam:
    """``source`` and ``detector`` are y of the focal spot and of the detector plane, millimetres.

    Image row 0 is at the top: row = (top - v) / pixel, column = (u - left) / pixel in the detector's plane. A point of
    the anatomy ``h`` lies at ``turn @ h + shift``.
    """

    source: float
    detector: float
    pixel: float
    left: float
    top: float
    shape: tuple[int, int]
    turn: Matrix
    shift: Matrix

    def magnification(self, y: Matrix | float) -> Matrix:
        return np.asarray((self.detector - self.source) / (np.asarray(y, float) - self.source))

    def place(self, points: Matrix) -> tuple[Matrix, Matrix, Matrix]:
        """(n, 3) points of the anatomy to (rows, columns, magnifications)."""
        p = points @ self.turn.T + self.shift
        m = self.magnification(p[:, 1])
        return (self.top - p[:, 2] * m) / self.pixel, (p[:, 0] * m - self.left) / self.pixel, m


@dataclass(frozen=True, slots=True)
class Splats:
    """Ellipsoids of the anatomy: ``centres`` (n, 3), ``axes`` (n, 3, 3) whose rows are unit vectors, ``radii`` (n, 3)
    along them, ``weights`` (n,) attenuation per millimetre."""

    centres: Matrix
    axes: Matrix
    radii: Matrix
    weights: Matrix

    def scaled(self, factor: float, weight: float) -> Splats:
        """The same places with other sizes: a negative weight hollows them out."""
        return Splats(self.centres, self.axes, self.radii * factor, self.weights * weight)


def gather(parts: list[Splats]) -> Splats:
    return Splats(
        *(np.concatenate([getattr(p, name) for p in parts]) for name in ("centres", "axes", "radii", "weights"))
    )


def rod(path: Matrix, across: Matrix, radii: Matrix | tuple[float, float], density: float, step: float = 1.6) -> Splats:
    """A rod along a polyline (n, 3). ``across`` is the direction of its first cross radius; density per millimetre."""
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    count = max(2, int(lengths[-1] / step))
    at = np.linspace(0.0, lengths[-1], count)
    centres = np.stack([np.interp(at, lengths, path[:, n]) for n in range(3)], axis=1)
    tangent = np.gradient(centres, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    wanted = (
        np.broadcast_to(across, centres.shape)
        if across.ndim == 1
        else np.stack([np.interp(at, lengths, across[:, n]) for n in range(3)], axis=1)
    )
    first = wanted - tangent * np.sum(wanted * tangent, axis=1, keepdims=True)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    second = np.cross(tangent, first)
    cross = (
        np.broadcast_to(np.asarray(radii, float), (count, 2))
        if not isinstance(radii, np.ndarray) or radii.ndim == 1
        else np.stack([np.interp(at, lengths, radii[:, n]) for n in range(2)], axis=1)
    )
    along = np.minimum(cross[:, 0], cross[:, 1])
    spacing = lengths[-1] / max(count - 1, 1)
    along = np.maximum(along, spacing)
    return Splats(
        centres,
        np.stack([tangent, first, second], axis=1),
        np.stack([along, cross[:, 0], cross[:, 1]], axis=1),
        density * spacing / (2.0 * along),
    )


def project(image: Field, beam: Beam, splats: Splats) -> None:
    """Adds the line integrals of the splats to ``image`` (rows, columns), in place."""
    rows, columns, m = beam.place(splats.centres)
    axes = splats.axes @ beam.turn.T
    # Quadratic form of each ellipsoid in the patient's frame, in detector millimetres.
    a = np.einsum("nki,nk,nkj->nij", axes, (splats.radii * m[:, None]) ** -2.0, axes)
    ayy = a[:, 1, 1]
    bxx = ayy * a[:, 0, 0] - a[:, 0, 1] ** 2
    bzz = ayy * a[:, 2, 2] - a[:, 1, 2] ** 2
    bxz = ayy * a[:, 0, 2] - a[:, 0, 1] * a[:, 1, 2]
    # A chord no thinner than a pixel: finer rods are widened and thinned in density, which keeps their integral.
    gain = 2.0 * splats.weights / (ayy * m)
    reach = np.sqrt(ayy * np.maximum(bxx, bzz) / np.maximum(bxx * bzz - bxz**2, 1e-30)) / beam.pixel
    half = np.clip(np.ceil(reach).astype(int) + 1, 1, 200)
    for size in np.unique(half):
        chosen = np.flatnonzero(half == size)
        span = np.arange(-size, size + 1)
        per = max(1, _CHUNK // len(span) ** 2)
        for first in range(0, len(chosen), per):
            n = chosen[first : first + per]
            _add(image, beam.pixel, span, (rows[n], columns[n]), (ayy[n], bxx[n], bzz[n], bxz[n]), gain[n])


def _add(
    image: Field,
    pixel: float,
    span: NDArray[np.int_],
    place: tuple[Matrix, Matrix],
    form: tuple[Matrix, Matrix, Matrix, Matrix],
    gain: Matrix,
) -> None:
    row, column = np.rint(place[0]).astype(int), np.rint(place[1]).astype(int)
    z = ((place[0] - row)[:, None] - span[None, :]).astype(np.float32)[:, :, None] * np.float32(pixel)
    x = (span[None, :] - (place[1] - column)[:, None]).astype(np.float32)[:, None, :] * np.float32(pixel)
    ayy, bxx, bzz, bxz = (v.astype(np.float32)[:, None, None] for v in form)
    chord = ayy - bxx * x * x - bzz * z * z
    chord -= (2 * bxz * x) * z
    np.maximum(chord, 0, out=chord)
    np.sqrt(chord, out=chord)
    chord *= gain.astype(np.float32)[:, None, None]
    r, c = row[:, None] + span[None, :], column[:, None] + span[None, :]
    inside = ((r >= 0) & (r < image.shape[0]))[:, :, None] & ((c >= 0) & (c < image.shape[1]))[:, None, :]
    flat = (r[:, :, None] * image.shape[1] + c[:, None, :])[inside]
    image += np.bincount(flat, weights=chord[inside], minlength=image.size).reshape(image.shape).astype(np.float32)
