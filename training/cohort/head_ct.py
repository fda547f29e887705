"""The CT scanner: a person's head on one day, sampled, blurred, noisy, with its head rest."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.cohort.chance import stream
from training.cohort.dials.head_ct import HeadCtVisit
from training.cohort.head import hardware
from training.cohort.head.frame import Head
from training.cohort.head.phantom import head_image
from training.cohort.head.today import head_of
from training.cohort.implicit import Field, Matrix, rotation
from training.cohort.person import Person
from training.cohort.sampling import Grid, Slab
from training.cohort.visit import Visit

_LOWEST, _HIGHEST = -1024, 3071


def head_ct(who: Person, when: Visit) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """A head CT.

    Returns
    -------
    volume
        int16 Hounsfield units (slices, rows, columns), slices from the feet upwards, -1024 to 3071. Rows and columns
        run backwards and to the left, of a prone patient forwards and to the right.
    affine
        (4, 4) float64 from voxel index (slice, row, column, 1) to patient LPS millimetres; sheared by a tilted gantry.
    """
    scan = when.head_ct
    head = head_of(who, when, scan, down=(0.0, -1.0 if scan.prone else 1.0, 0.0))
    grid = _grid(head, scan)
    edge = (0.7 if scan.sharp else 1.0) * (grid.spacing[1] + 0.25 * scan.thickness * grid.spacing[0])

    def around(slab: Slab, image: Field) -> None:
        _lay_around(slab, image, head, scan)

    def within(slab: Slab, image: Field) -> None:
        _lay_within(slab, image, head, scan, edge)

    volume = head_image(grid, head, edge, around=around, within=within)
    rng = stream(who.seed, "visit", who.number, when.number, "head ct noise")
    if scan.streaks and (head.fillings or scan.arch_bar):
        _add_streaks(volume, grid, rng)
    _add_noise(volume, scan, rng)
    np.clip(volume, _LOWEST, _HIGHEST, out=volume)
    values, affine = np.rint(volume).astype(np.int16), grid.affine()
    if scan.gantry:
        affine = _leaning(values, affine, scan.gantry)
    return _laid_prone(values, affine) if scan.prone else (values, affine)


def _grid(head: Head, scan: HeadCtVisit) -> Grid:
    pixel = scan.field_of_view / scan.matrix
    # A tilted gantry samples planes across its own axis: the head lies turned to them.
    turn = rotation(-scan.gantry, 0.0, 0.0) @ rotation(*scan.tilt)
    shift = np.array([scan.shift[0], scan.shift[1], scan.shift[2]])
    top = scan.shift[2] + head.shape.vault_height + 22.0
    bottom = scan.shift[2] + head.shape.chin_z + scan.missing_below - 4.0
    slices = int(np.ceil((top - bottom) / scan.spacing))
    corner = -scan.field_of_view / 2 + pixel / 2
    # The face reaches further forward than the head backwards: scans are centred between.
    origin = (round(bottom, 2), round(corner - 8.0, 3), round(corner, 3))
    return Grid((slices, scan.matrix, scan.matrix), (scan.spacing, pixel, pixel), origin, turn, shift)


def _lay_around(slab: Slab, image: Field, head: Head, scan: HeadCtVisit) -> None:
    if not scan.prone:
        back = scan.shift[1] + head.shape.vault_centre_y + head.half_length + head.shape.scalp_thickness
        hardware.lay_head_rest(slab, image, scan.rest, scan.shift[0], back)
    if scan.strap:
        hardware.lay_strap(slab, image, head)
    if scan.bandage:
        hardware.lay_bandage(slab, image, head)


def _lay_within(slab: Slab, image: Field, head: Head, scan: HeadCtVisit, edge: float) -> None:
    if scan.tube:
        hardware.lay_tube(slab, image, head, edge)
    if scan.arch_bar:
        hardware.lay_arch_bar(slab, image, head, edge)
    if scan.plate:
        hardware.lay_plate(slab, image, head, edge)


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
    sigma = 1.9 if scan.iterative else 0.55 if scan.sharp else 0.95
    grain = np.sqrt(4 * np.pi) * sigma if sigma > 0.6 else 1.35
    level = np.float32(scan.noise * (1.6 if scan.sharp else 1.0) * grain)
    for image in volume:
        if scan.sharp:
            image += np.float32(0.55) * (image - cv2.GaussianBlur(image, (0, 0), 1.0))
        elif scan.iterative:
            image[:] = cv2.medianBlur(image, 3)
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        image += cv2.GaussianBlur(noise, (0, 0), sigma) * level


def _leaning(volume: NDArray[np.int16], affine: Matrix, degrees: float) -> Matrix:
    """The affine of slices that a tilted gantry took: parallel, but each shifted along the table. Moves rows to fit.

    The table's axis is at ``degrees`` from the slices' normal, so that later slices lie further back in their plane.
    """
    angle = np.radians(degrees)
    step, row = float(affine[2, 0]), float(affine[1, 1])
    middle = 0.5 * (len(volume) - 1)
    for n, image in enumerate(volume):
        move = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, -(n - middle) * step * np.tan(angle) / row]])
        image[:] = cv2.warpAffine(image, move, image.shape[::-1], borderValue=-1024)
    sheared = affine.copy()
    sheared[1, 0] = step * np.tan(angle)
    sheared[1, 3] -= middle * step * np.tan(angle)
    turn = np.eye(4)
    turn[:3, :3] = rotation(degrees, 0.0, 0.0)
    result: Matrix = turn @ sheared
    return result


def _laid_prone(volume: NDArray[np.int16], affine: Matrix) -> tuple[NDArray[np.int16], Matrix]:
    turned = affine.copy()
    turned[:3, 3] += affine[:3, 1] * (volume.shape[1] - 1) + affine[:3, 2] * (volume.shape[2] - 1)
    turned[:3, 1:3] *= -1
    return np.ascontiguousarray(volume[:, ::-1, ::-1]), turned
