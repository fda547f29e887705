"""The CT scanner: a person's head on one day, sampled, blurred, noisy, with its head rest."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.cohort.chance import stream
from training.cohort.dials.head_ct import HeadCtVisit
from training.cohort.head.frame import Head
from training.cohort.head.phantom import head_image
from training.cohort.head.today import head_of
from training.cohort.implicit import Chain, Field, lay, rotation
from training.cohort.person import Person
from training.cohort.sampling import Grid, Slab
from training.cohort.visit import Visit

_LOWEST, _HIGHEST = -1024, 3071


def head_ct(who: Person, when: Visit) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """A head CT.

    Returns
    -------
    volume
        int16 Hounsfield units (slices, rows, columns), slices from the feet upwards, -1024 to 3071.
    affine
        (4, 4) float64 from voxel index (slice, row, column, 1) to patient LPS millimetres.
    """
    scan = when.head_ct
    head = head_of(who, when, scan)
    grid = _grid(head, scan)
    edge = (0.7 if scan.sharp else 1.0) * (grid.spacing[1] + 0.25 * grid.spacing[0])
    volume = head_image(grid, head, edge, around=lambda slab, image: _lay_around(slab, image, head, scan))
    if scan.tube:
        _lay_tube(grid, head, volume, edge)
    rng = stream(who.seed, "visit", who.number, when.number, "head ct noise")
    if scan.streaks and head.fillings:
        _add_streaks(volume, grid, rng)
    _add_noise(volume, scan, rng)
    np.clip(volume, _LOWEST, _HIGHEST, out=volume)
    return np.rint(volume).astype(np.int16), grid.affine()


def _grid(head: Head, scan: HeadCtVisit) -> Grid:
    pixel = scan.field_of_view / scan.matrix
    turn = rotation(*scan.tilt)
    shift = np.array([scan.shift[0], scan.shift[1], scan.shift[2]])
    top = scan.shift[2] + head.shape.vault_height + 22.0
    bottom = scan.shift[2] + head.shape.chin_z + scan.missing_below - 4.0
    slices = int(np.ceil((top - bottom) / scan.spacing))
    corner = -scan.field_of_view / 2 + pixel / 2
    # The face reaches further forward than the head backwards: scans are centred between.
    origin = (round(bottom, 2), round(corner - 8.0, 3), round(corner, 3))
    return Grid((slices, scan.matrix, scan.matrix), (scan.spacing, pixel, pixel), origin, turn, shift)


def _lay_around(slab: Slab, image: Field, head: Head, scan: HeadCtVisit) -> None:
    """Head rest: a foam-filled shell under the head, in the scanner's frame and not the head's."""
    if not scan.head_rest:
        return
    back = scan.shift[1] + head.shape.vault_centre_y + head.half_length + head.shape.scalp_thickness
    p = slab.patient
    radius = 96.0
    across = np.hypot(p.x - np.float32(scan.shift[0] * 0.5), p.y - np.float32(back + 3.0 - radius)).astype(np.float32)
    low = np.float32(back - 60.0) - p.y
    foam = np.maximum(np.abs(across - np.float32(radius + 5.0)) - np.float32(5.0), low)
    shell = np.maximum(np.abs(across - np.float32(radius + 12.0)) - np.float32(1.6), low)
    for distance, value in ((foam, -930.0), (shell, -120.0)):
        lay(image, np.broadcast_to(distance, image.shape).astype(np.float32), value, 1.5)


def _lay_tube(grid: Grid, head: Head, volume: Field, edge: float) -> None:
    """A tracheal tube from the mouth down the throat."""
    chin = head.shape.chin_z
    path = [
        (6, head.incisor - 30, head.bite - 4),
        (4, head.incisor + 20, head.bite + 2),
        (2, -24, head.bite - 4),
        (0, -20, chin),
        (0, -24, -190),
    ]
    for part, slab in grid.slabs(16, head.shape.warp):
        image = volume[part]
        slab.paint(image, Chain(path, 4.6), value=180.0, edge=edge)
        slab.paint(image, Chain(path, 3.3), value=-1000.0, edge=edge)


def _add_streaks(volume: Field, grid: Grid, rng: np.random.Generator) -> None:
    """Rays of false light and dark from each filling, within its slices."""
    rows, columns = np.mgrid[: grid.shape[1], : grid.shape[2]].astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, 3)
    for image in volume:
        metal = np.argwhere(image > 2700.0)
        if not len(metal):
            continue
        for row, column in metal[:: max(1, len(metal) // 3)][:3]:
            angle = np.arctan2(rows - row, columns - column)
            reach = np.exp(np.hypot(rows - row, columns - column) * np.float32(-grid.spacing[1] / 45.0))
            wave = np.sin(5 * angle + phases[0]) + np.sin(9 * angle + phases[1]) + np.sin(17 * angle + phases[2])
            image += np.float32(min(60.0, 15.0 + 3.0 * len(metal))) * reach * wave.astype(np.float32)


def _add_noise(volume: Field, scan: HeadCtVisit, rng: np.random.Generator) -> None:
    """Noise with the grain of the kernel; a sharp kernel also overshoots at edges."""
    sigma = 0.55 if scan.sharp else 0.95
    grain = np.sqrt(4 * np.pi) * sigma if sigma > 0.6 else 1.35
    for number in range(len(volume)):
        image = volume[number]
        if scan.sharp:
            image += np.float32(0.55) * (image - cv2.GaussianBlur(image, (0, 0), 1.0))
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        level = np.float32(scan.noise * (1.6 if scan.sharp else 1.0) * grain)
        image += cv2.GaussianBlur(noise, (0, 0), sigma) * level
