"""The MR scanner: a T1-weighted 3-D acquisition of a person's head through an uneven coil, with noise and ghosts."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from training.cohort.chance import stream
from training.cohort.dials.head_mr import HeadMrVisit
from training.cohort.head.frame import Head
from training.cohort.head.phantom import head_image
from training.cohort.head.tissue import T1, Tissues
from training.cohort.head.today import head_of
from training.cohort.implicit import Field, Matrix, rotation
from training.cohort.person import Person
from training.cohort.sampling import Grid
from training.cohort.visit import Visit

_HIGHEST = 4095
_FAT = T1.fat
# Voxels near a filling lose their signal; millimetres.
_VOID = 9.0


def head_mr(who: Person, when: Visit) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
    """A T1-weighted MR of the head.

    Returns
    -------
    volume
        uint16 signal (slices, rows, columns), 0 to 4095. Sagittal slices run from right to left with rows downwards and
        columns backwards; axial ones from the feet upwards.
    affine
        (4, 4) float64 from voxel index (slice, row, column, 1) to patient LPS millimetres.
    """
    scan = when.head_mr
    head = head_of(who, when, scan)
    pad = round(scan.wrap / scan.spacing)
    grid = _grid(head, scan, pad)
    rng = stream(who.seed, "visit", who.number, when.number, "head mr noise")
    coil = stream(who.seed, "device", when.devices["MR"], "coil")
    volume = head_image(grid, head, scan.blur * scan.spacing, _palette(scan))
    _lose_signal(volume, grid, head)
    _receive(volume, grid, scan, coil, rng)
    if pad:
        volume = _wrapped(volume, pad)
        grid = replace(grid, shape=(grid.shape[0], grid.shape[1] - pad, grid.shape[2]))
    if scan.ghost:
        _add_ghosts(volume, scan.ghost, rng)
    _detect(volume, scan, rng)
    return _stored(volume, grid, scan)


def _palette(scan: HeadMrVisit) -> Tissues:
    """T1 weighting with the scanner's own contrast; suppressed fat (and marrow) keeps a tenth of its signal."""
    values = {item.name: _FAT * (getattr(T1, item.name) / _FAT) ** scan.contrast for item in fields(T1)}
    if scan.suppressed:
        values |= {name: 0.12 * values[name] for name in ("fat", "spongy")}
    return Tissues(**values)


def _grid(head: Head, scan: HeadMrVisit, pad: int) -> Grid:
    """An upright box around the head; ``pad`` more rows behind it are what will wrap."""
    s, size = head.shape, scan.spacing
    turn, shift = rotation(*scan.tilt), np.array(scan.shift)
    ears = head.half_breadth + s.scalp_thickness + 14.0
    front = min(head.incisor - s.nose_protrusion, head.front) - 12.0
    back = s.vault_centre_y + head.half_length + s.scalp_thickness
    corners = np.array([[x, y, z] for x in (-ears, ears) for y in (front, back) for z in (s.chin_z, s.vault_height)])
    # The box is laid where the technologist thinks the head is: by its pose, not by the person's measures.
    low = (corners @ turn.T).min(axis=0) * 0.93 + shift - scan.margin
    high = (corners @ turn.T).max(axis=0) * 0.93 + shift + scan.margin
    low[2], high[1] = shift[2] + s.chin_z - scan.below_chin, high[1] - pad * size
    count = [min(scan.matrix, int(np.ceil((b - a) / size))) for a, b in zip(low, high, strict=True)]
    # What does not fit is neck, or air behind.
    low[2] = high[2] - count[2] * size
    origin = tuple(round(float(v), 3) for v in low[::-1])
    return Grid(
        (count[2], count[1] + pad, count[0]), (size, size, size), (origin[0], origin[1], origin[2]), turn, shift
    )


def _lose_signal(volume: Field, grid: Grid, head: Head) -> None:
    """Metal spoils the field around it."""
    for number, crown, _, _ in head.teeth():
        if number not in head.fillings:
            continue
        z, y, x = (grid.turn @ np.array(crown) + grid.shift)[::-1]
        axes = [o + grid.spacing[n] * np.arange(grid.shape[n]) for n, o in enumerate(grid.origin)]
        spans = [np.flatnonzero(np.abs(axis - at) < 2 * _VOID) for axis, at in zip(axes, (z, y, x), strict=True)]
        if not all(len(span) for span in spans):
            continue
        box = tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)
        dz, dy, dx = (axis[part] - at for axis, part, at in zip(axes, box, (z, y, x), strict=True))
        far = np.sqrt(dz[:, None, None] ** 2 * 0.7 + dy[None, :, None] ** 2 + dx[None, None, :] ** 2)
        volume[box] *= np.clip((far - _VOID) / 4.0, 0, 1).astype(np.float32)


def _receive(volume: Field, grid: Grid, scan: HeadMrVisit, coil: np.random.Generator, rng: np.random.Generator) -> None:
    """The coil: mostly the machine's own unevenness, partly how the head lay in it; weaker towards the neck."""
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in volume.shape]
    own, day = coil.standard_normal(9), rng.standard_normal(9)
    a = ((0.8 * own + 0.6 * day) * scan.bias).astype(np.float32)
    z, y, x = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
    field = a[0] * z + a[1] * y + a[2] * x
    field = field + a[3] * z * y + a[4] * y * x + a[5] * z * x
    field += np.float32(0.7) * (a[6] * np.cos(2.2 * z) + a[7] * np.cos(2.2 * y) + a[8] * np.cos(2.2 * x))
    neck = grid.origin[0] + grid.spacing[0] * np.arange(grid.shape[0], dtype=np.float32) - np.float32(grid.shift[2])
    fall = np.minimum(0, (neck + np.float32(75.0)) / np.float32(60.0))
    field += fall.astype(np.float32)[:, None, None]
    volume *= np.exp(np.clip(field, -2.5, 0.9))


def _wrapped(volume: Field, pad: int) -> Field:
    """Aliasing along y: what lies behind the field of view comes back in front."""
    inner = volume[:, :-pad].copy()
    inner[:, :pad] += volume[:, -pad:]
    return inner


def _add_ghosts(volume: Field, strength: float, rng: np.random.Generator) -> None:
    """Periodic motion repeats the head along the phase direction."""
    step = int(rng.uniform(0.12, 0.45) * volume.shape[1])
    still = volume.copy()
    for n in (1, 2):
        for sign in (1, -1):
            volume += np.float32(strength / n * (1 if n == 1 else -0.6)) * np.roll(still, sign * n * step, axis=1)
    np.abs(volume, out=volume)


def _detect(volume: Field, scan: HeadMrVisit, rng: np.random.Generator) -> None:
    """The magnitude of a complex signal with noise in both parts: Rician."""
    level = np.float32(scan.noise * _FAT)
    for part in volume:
        real = part + level * rng.standard_normal(part.shape, dtype=np.float32)
        imaginary = level * rng.standard_normal(part.shape, dtype=np.float32)
        np.hypot(real, imaginary, out=part)


def _stored(volume: Field, grid: Grid, scan: HeadMrVisit) -> tuple[NDArray[np.uint16], Matrix]:
    values = np.clip(np.rint(volume * np.float32(scan.gain / _FAT)), 0, _HIGHEST).astype(np.uint16)
    affine = grid.affine()
    if scan.axial:
        return values, affine
    # (z, y, x) to (x, z downwards, y).
    sagittal = np.ascontiguousarray(values[::-1].transpose(2, 0, 1))
    turned = np.eye(4)
    turned[:3, 0], turned[:3, 1], turned[:3, 2] = affine[:3, 2], -affine[:3, 0], affine[:3, 1]
    turned[:3, 3] = affine[:3, 3] + affine[:3, 0] * (values.shape[0] - 1)
    return sagittal, turned
