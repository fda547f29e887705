"""The CT scanner: a person's chest on one day, lying with the arms up, sampled, blurred, noisy, on its couch."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.cohort.chance import stream
from training.cohort.dials.chest_ct import ChestCtVisit
from training.cohort.implicit import Field, lay, rotation
from training.cohort.person import Person
from training.cohort.sampling import Grid, Slab
from training.cohort.thorax import devices
from training.cohort.thorax.abdomen import ORGANS
from training.cohort.thorax.frame import Chest
from training.cohort.thorax.heart import Blood
from training.cohort.thorax.patient import chest_of
from training.cohort.thorax.skeleton import skeleton
from training.cohort.thorax.tissue import SoftParts
from training.cohort.thorax.volume import lay_bones, lay_vessels, soft_units
from training.cohort.visit import Visit

_LOWEST, _HIGHEST = -1024, 3071
_METAL = 2800.0
_BLOOD = {
    "none": Blood(),
    "arterial": Blood(veins=210.0, right=190.0, left=310.0),
    "venous": Blood(veins=150.0, right=155.0, left=165.0),
    "delayed": Blood(veins=95.0, right=92.0, left=96.0),
}


def chest_ct(who: Person, when: Visit) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """A chest CT.

    Returns
    -------
    volume
        int16 Hounsfield units (slices, rows, columns), slices from the feet upwards, -1024 to 3071.
    affine
        (4, 4) float64 from voxel index (slice, row, column, 1) to patient LPS millimetres.
    """
    scan = when.chest_ct
    chest = chest_of(
        who,
        when,
        breath=scan.breath,
        weight=scan.weight,
        arms="down" if scan.arms_down else "up",
        supine=True,
        gas=scan.gas,
    )
    grid = _grid(chest, scan)
    edge = (0.75 if scan.sharp else 1.0) * (grid.spacing[1] + 0.25 * grid.spacing[0])
    rng = stream(who.seed, "visit", who.number, when.number, "chest ct noise")
    blood = _BLOOD[scan.contrast]
    parts = SoftParts(chest, edge, blood, ORGANS[scan.contrast])
    volume = soft_units(grid, parts, lambda slab, image: _lay_couch(slab, image, chest, scan))
    lay_vessels(volume, grid, chest, 0.5 * (blood.right + blood.left), edge)
    things = [*skeleton(chest), *devices.implants(chest)]
    if scan.leads:
        things += devices.ecg_leads(chest, rng)
    if scan.line:
        things += devices.central_line(chest)
    lay_bones(volume, grid, things, edge)
    if scan.streaks:
        _add_streaks(volume, grid, rng)
    _add_noise(volume, scan, rng)
    np.clip(volume, _LOWEST, _HIGHEST, out=volume)
    return np.rint(volume, out=volume).astype(np.int16), grid.affine()


def _grid(chest: Chest, scan: ChestCtVisit) -> Grid:
    pixel = scan.field_of_view / scan.matrix
    turn = rotation(*scan.tilt)
    middle = turn @ np.array([0.0, float(chest.centre_y(-40.0)) + 4.0, 0.0])
    shift = np.array([scan.shift[0], scan.shift[1] - middle[1], scan.shift[2]])
    top = chest.shape.apex_height + 8.0 + scan.above
    bottom = chest.shape.dome_right - chest.shape.dome_difference - 72.0 - scan.below
    slices = int(np.ceil((top - bottom) / scan.spacing))
    corner = round(-scan.field_of_view / 2 + pixel / 2, 3)
    origin = (round(scan.shift[2] + bottom, 2), corner, corner)
    return Grid((slices, scan.matrix, scan.matrix), (scan.spacing, pixel, pixel), origin, turn, shift)


def _lay_couch(slab: Slab, image: Field, chest: Chest, scan: ChestCtVisit) -> None:
    """The couch under the patient, in the scanner's frame: foam, then a curved shell."""
    if not scan.couch:
        return
    p = slab.patient
    back = float(chest.back_y(0.0)) + 24.0 + 0.3 * chest.shape.muscle + chest.fat
    surface = scan.shift[1] - float(chest.centre_y(-40.0)) - 4.0 + back
    radius = 420.0
    bowl = np.hypot(p.x - np.float32(0.4 * scan.shift[0]), p.y - np.float32(surface + 6.0 - radius)).astype(np.float32)
    side = np.abs(p.x) - np.float32(215.0)
    foam = np.maximum(np.abs(bowl - np.float32(radius + 8.0)) - np.float32(8.0), side)
    shell = np.maximum(np.abs(bowl - np.float32(radius + 18.0)) - np.float32(1.8), side)
    for distance, value in ((foam, -950.0), (shell, -180.0)):
        lay(image, np.broadcast_to(distance, image.shape).astype(np.float32), value, 2.0)


def _add_streaks(volume: Field, grid: Grid, rng: np.random.Generator) -> None:
    """Rays of false light and dark from metal, within its slices."""
    rows, columns = np.mgrid[: grid.shape[1], : grid.shape[2]].astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, 3)
    for image in volume:
        if float(image.max()) < _METAL:
            continue
        metal = np.argwhere(image > _METAL)
        strength = np.float32(min(240.0, 30.0 + 6.0 * len(metal)))
        for row, column in metal[:: max(1, len(metal) // 2)][:2]:
            angle = np.arctan2(rows - row, columns - column)
            reach = np.exp(np.hypot(rows - row, columns - column) * np.float32(-grid.spacing[1] / 55.0))
            wave = np.sin(5 * angle + phases[0]) + np.sin(9 * angle + phases[1]) + np.sin(17 * angle + phases[2])
            image += strength * reach * wave.astype(np.float32)


def _add_noise(volume: Field, scan: ChestCtVisit, rng: np.random.Generator) -> None:
    """Noise with the grain of the kernel, stronger across the shoulders; a sharp kernel also overshoots at edges."""
    sigma = 0.55 if scan.sharp else 0.95
    grain = np.sqrt(4 * np.pi) * sigma if sigma > 0.6 else 1.35
    for image in volume:
        if scan.sharp:
            image += np.float32(0.5) * (image - cv2.GaussianBlur(image, (0, 0), 1.0))
        thick = float(np.mean(image > -300.0))
        level = np.float32(scan.noise * (1.6 if scan.sharp else 1.0) * grain * (0.75 + 0.8 * thick))
        image += cv2.GaussianBlur(rng.standard_normal(image.shape, dtype=np.float32), (0, 0), sigma) * level
