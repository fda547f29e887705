"""The X-ray room: a person's chest on one day, projected, scattered, detected, processed for viewing.

A digitally reconstructed radiograph: soft parts are summed over planes across the beam, each magnified as the cone has
it; bones and vessels, finer than such planes, are added as the exact line integrals of ellipsoids.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.cohort.chance import stream
from training.cohort.dials.chest_film import ChestFilmVisit
from training.cohort.film_look import process
from training.cohort.film_marks import burn_in, close_shutter, mark_side
from training.cohort.film_physics import expose
from training.cohort.implicit import Field, rotation
from training.cohort.person import Person
from training.cohort.projection import Beam, project
from training.cohort.sampling import Fan, Grid
from training.cohort.thorax import devices
from training.cohort.thorax.bone import Bone
from training.cohort.thorax.frame import Arms, Chest
from training.cohort.thorax.patient import chest_of
from training.cohort.thorax.skeleton import as_attenuation, skeleton
from training.cohort.thorax.tissue import AIR, SoftParts
from training.cohort.thorax.tree import vessels
from training.cohort.visit import Visit

# Per millimetre at the effective energy of a chest beam (about 65 keV).
_WATER = 0.0200
_BLOOD_OVER_LUNG = 0.0175
_PLANE_STEP = 5.0
# Points of so many planes are worked on together: more would not stay in the cache, fewer cost calls.
_FAN = 1 << 16
# Wider than the planes stand apart: their sum then shows no steps.
_EDGE = 5.5
_SOFT_PIXEL = 2.2
_SOFT_PER_PIXEL = 1.6
_FULL = 4095
_ARMS: dict[str, Arms] = {"PA": "forward", "AP": "down", "LL": "up"}


def chest_radiograph(who: Person, when: Visit, view: str | None = None) -> tuple[NDArray[np.uint16], float]:
    """A chest radiograph as it is shown (MONOCHROME2 sense, bone bright), and its pixel spacing.

    ``view`` is ``PA``, ``AP`` or ``LL``; by default the visit's own.

    Returns
    -------
    image
        uint16 (rows, columns), 0 to 4095; the patient's left is on the right of PA and AP.
    spacing
        millimetres at the detector (Imager Pixel Spacing).
    """
    film = when.chest_film
    view = view or film.view
    chest = chest_of(
        who,
        when,
        breath=film.pose(view).breath,
        weight=film.weight,
        arms=_ARMS[view],
        supine=view == "AP",
        gas=film.gas,
    )
    beam = _beam(chest, film, view)
    rng = stream(who.seed, "visit", who.number, when.number, "chest film noise", view)
    line = _line_integrals(beam, chest, _things(chest, film, view, rng))
    if film.fold and view == "AP":
        _add_fold(line, rng)
    shown = process(expose(line, film, beam.pixel, rng), film)
    return np.rint(_finish(shown, who, when, view, rng) * _FULL).astype(np.uint16), beam.pixel


def _beam(chest: Chest, film: ChestFilmVisit, view: str) -> Beam:
    s, pose, lateral = chest.shape, film.pose(view), view == "LL"
    turn = rotation(*pose.turn) @ rotation(0, 0, 90.0 if lateral else 0.0)
    half = (s.cage_depth if lateral else s.cage_width) / 2 + 18.0
    centre = turn @ np.array([0.0, float(chest.centre_y(-40.0)), 0.0])
    shift = np.array([pose.shift[0] - centre[0], -centre[1], pose.shift[1]])
    reach = s.cage_width / 2 + 60 if lateral else s.cage_depth / 2 + 55
    detector = reach if view == "AP" else -reach
    source = detector + (-film.distance if view == "AP" else film.distance)
    grow = film.distance / (film.distance - 1.2 * reach)
    left, right, top, bottom = pose.edges
    width = (2 * half) * grow + left + right
    high = (s.apex_height + 22.0) * grow + top
    low = (s.dome_right - s.dome_difference - 66.0) * grow - bottom
    pixel = max(width, high - low) / film.matrix
    shape = (int((high - low) / pixel), int(width / pixel))
    return Beam(source, detector, pixel, -half * grow - left, high, shape, turn, shift)


def _things(chest: Chest, film: ChestFilmVisit, view: str, rng: np.random.Generator) -> list[Bone]:
    """Bones, and whatever else of metal or plastic was in the beam."""
    found = [*skeleton(chest), *devices.implants(chest)]
    if film.tube and view == "AP":
        found += devices.tracheal_tube(chest)
    if film.line and view == "AP":
        found += devices.central_line(chest)
    if film.leads and view == "AP":
        found += devices.ecg_leads(chest, rng)
    if film.necklace:
        found += devices.necklace(chest, rng)
    if film.buttons:
        found += devices.buttons(chest, rng)
    if film.brace:
        found += devices.brace(chest, rng)
    return found


def _line_integrals(beam: Beam, chest: Chest, things: list[Bone]) -> Field:
    line, lung = _soft(beam, chest)
    project(line, beam, as_attenuation(things, _WATER))
    tree = np.zeros_like(line)
    beads, _ = vessels(chest)
    project(tree, beam, beads.scaled(1.0, _BLOOD_OVER_LUNG))
    # Vessels end where there is no lung for them to lie in.
    line += tree * np.clip(lung * np.float32(1 / 70.0), 0, 1)
    return np.maximum(line, 0, out=line)


def _soft(beam: Beam, chest: Chest) -> tuple[Field, Field]:
    """Line integrals of everything but bone, and millimetres of lung along each ray."""
    coarse = max(_SOFT_PIXEL, _SOFT_PER_PIXEL * beam.pixel)
    scale = coarse / beam.pixel
    rows, columns = int(np.ceil(beam.shape[0] / scale)) + 1, int(np.ceil(beam.shape[1] / scale)) + 1
    total, lung = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    parts = SoftParts(chest, _EDGE)
    planes = []
    for y in np.arange(-abs(beam.detector) + 2.0, abs(beam.detector) - 2.0, _PLANE_STEP):
        m = float(beam.magnification(float(y)))
        pixel = coarse / m
        bottom = (beam.top - (rows - 0.5) * coarse) / m
        origin = (bottom, float(y), (beam.left + 0.5 * coarse) / m)
        planes.append(Grid((rows, 1, columns), (pixel, _PLANE_STEP, pixel), origin, beam.turn, beam.shift))
    together = max(1, _FAN // (rows * columns))
    for first in range(0, len(planes), together):
        fan = Fan(planes[first : first + together])
        units = fan.full(AIR)
        share = parts.lay(fan, units)
        total += (units[::-1].sum(axis=1) * np.float32(0.001) + np.float32(units.shape[1])) * np.float32(
            _WATER * _PLANE_STEP
        )
        lung += share[::-1].sum(axis=1) * np.float32(_PLANE_STEP)
    return _enlarge(total, scale, beam.shape), _enlarge(lung, scale, beam.shape)


def _enlarge(coarse: Field, scale: float, shape: tuple[int, int]) -> Field:
    columns, rows = np.meshgrid(np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32))
    place = [((v + np.float32(0.5)) / np.float32(scale) - np.float32(0.5)) for v in (columns, rows)]
    large = cv2.remap(coarse, place[0], place[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(large, dtype=np.float32)


def _add_fold(line: Field, rng: np.random.Generator) -> None:
    """A fold of the skin of the back, pressed against the cassette: an edge on one side, fading on the other."""
    rows, columns = line.shape
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    side = 1.0 if rng.random() < 0.5 else -1.0
    start = columns * (0.5 + side * rng.uniform(0.2, 0.33))
    lean = side * rng.uniform(0.05, 0.2)
    away = (x - np.float32(start) - np.float32(lean) * (y - np.float32(rows / 2))) * np.float32(side)
    body = np.exp(-np.maximum(-away, 0) / np.float32(0.06 * columns)) * np.clip(np.float32(0.5) - away / 3, 0, 1)
    fade = np.clip((y / rows - np.float32(0.2)) * 4, 0, 1) * np.clip((np.float32(0.85) - y / rows) * 4, 0, 1)
    line += np.float32(0.13) * body * fade


def _finish(shown: Field, who: Person, when: Visit, view: str, rng: np.random.Generator) -> Field:
    """Shutter, marker, the way the film faces, text."""
    film = when.chest_film
    if film.shutter:
        close_shutter(shown, film.shutter, rng)
    if film.marker:
        mark_side(shown, film.marker, view, rng)
    # A lateral film that faces left is turned about; a mirrored frontal one is the error of laterality.
    if film.mirrored if view != "LL" else film.faces_left:
        shown = np.ascontiguousarray(shown[:, ::-1])
    if film.text:
        burn_in(shown, who, when, film, view)
    return shown
