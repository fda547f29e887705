"""What lies beneath and around the retinal vessels: choroid, nerve fibres, grain. Textures of the eye, in its frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from training.cohort.chance import stream
from training.cohort.eye.camera import Plane
from training.cohort.eye.shape import EyeShape

_STEP = 0.05
_LEFT, _RIGHT, _HALF = -12.0, 17.0, 12.0


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """Textures with mean 0 and standard deviation 1, on one grid of the eye's frame: float32 (rows, columns)."""

    choroid: Plane
    fibres: Plane
    grain: Plane

    def sample(self, texture: Plane, x: Plane, y: Plane) -> Plane:
        """The texture at points of the eye's frame, millimetres."""
        columns, rows = (x - np.float32(_LEFT)) * np.float32(1 / _STEP), (np.float32(_HALF) - y) * np.float32(1 / _STEP)
        return np.asarray(
            cv2.remap(texture, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101), dtype=np.float32
        )


@lru_cache(maxsize=4)
def ground(eye: EyeShape) -> Ground:
    """The textures of an eye; the last few are kept."""
    rng = stream(eye.ground, "ground")
    x, y = np.meshgrid(
        np.arange(_LEFT, _RIGHT, _STEP, dtype=np.float32), np.arange(_HALF, -_HALF, -_STEP, dtype=np.float32)
    )
    flow = _choroid_flow(rng, x, y)
    coarse = _streaks(rng, x.shape, flow, 2.6 * eye.choroid_scale, 6)
    fine = _streaks(rng, x.shape, _choroid_flow(rng, x, y), 1.8 * eye.choroid_scale, 6)
    # Vessels are bands with edges, one layer of them above the other.
    bands = np.tanh(np.float32(2.2) * coarse) + np.float32(0.75) * np.tanh(np.float32(2.2) * fine)
    patches = _noise(rng, x.shape, 40.0)
    return Ground(
        choroid=_normal(bands + np.float32(0.35) * patches),
        fibres=_streaks(rng, x.shape, _fibre_flow(eye, x, y), 0.9, 6),
        grain=_normal(_noise(rng, x.shape, 0.8) + _noise(rng, x.shape, 2.4) + _noise(rng, x.shape, 14.0)),
    )


def _choroid_flow(rng: np.random.Generator, x: Plane, y: Plane) -> tuple[Plane, Plane]:
    """Away from the posterior pole, towards a vortex vein in each quadrant, none of it straight."""
    u, v = np.zeros_like(x), np.zeros_like(x)
    for a, b in ((-11.0, 8.0), (-11.0, -8.0), (14.0, 9.0), (14.0, -9.0)):
        a, b = a + rng.normal(0, 1.5), b + rng.normal(0, 1.5)
        dx, dy = np.float32(a) - x, np.float32(b) - y
        near = 1 / (dx * dx + dy * dy + np.float32(4.0))
        u += dx * near
        v += dy * near
    bend = _noise(rng, x.shape, 26.0) * np.float32(0.75)
    angle = np.arctan2(v, u) + bend
    return np.cos(angle), -np.sin(angle)


def _fibre_flow(eye: EyeShape, x: Plane, y: Plane) -> tuple[Plane, Plane]:
    """Along the nerve fibres: out of the disc, around the fovea, into the raphe temporal of it."""
    u, v = np.zeros_like(x), np.zeros_like(x)
    sinks = [(-a, 0.0, -1.0 / 9.0) for a in np.linspace(0.3, 8.3, 9)]
    for a, b, strength in [(*eye.disc, 1.0), *sinks]:
        dx, dy = x - np.float32(a), y - np.float32(b)
        near = np.float32(strength) / (dx * dx + dy * dy + np.float32(0.15))
        u += dx * near
        v += dy * near
    size = np.sqrt(u * u + v * v) + np.float32(1e-6)
    return u / size, -v / size


def _noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Plane:
    """Smooth noise, mean 0 and standard deviation 1; wide kernels work on a smaller grid."""
    shrink = max(1, int(sigma / 2.5))
    small = rng.standard_normal((shape[0] // shrink + 2, shape[1] // shrink + 2), dtype=np.float32)
    smooth = cv2.GaussianBlur(small, (0, 0), sigma / shrink)
    if shrink > 1:
        size = (small.shape[1] * shrink, small.shape[0] * shrink)
        smooth = cv2.resize(smooth, size, interpolation=cv2.INTER_CUBIC)
    return _normal(np.asarray(smooth[: shape[0], : shape[1]], dtype=np.float32))


def _normal(values: Plane) -> Plane:
    mean, sd = float(values.mean()), float(values.std())
    return np.asarray((values - np.float32(mean)) / np.float32(sd + 1e-9), dtype=np.float32)


def _streaks(
    rng: np.random.Generator, shape: tuple[int, ...], flow: tuple[Plane, Plane], width: float, doublings: int
) -> Plane:
    """Noise drawn out along a flow (line integral convolution, each pass twice as far as the one before)."""
    texture = _noise(rng, shape, width)
    columns, rows = np.meshgrid(np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32))
    for n in range(doublings):
        far = np.float32(0.6 * width * 1.6**n)
        ends = [
            cv2.remap(
                texture, columns + way * far * flow[0], rows + way * far * flow[1], cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REFLECT_101,
            )
            for way in (1, -1)
        ]  # fmt: skip
        texture = np.float32(0.4) * texture + np.float32(0.3) * (ends[0] + ends[1])
    return _normal(texture)
