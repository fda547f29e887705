"""The X-ray room: a person's chest on one day, projected, scattered, detected, processed for viewing."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.cohort.chance import stream
from training.cohort.dials.chest_film import ChestFilmVisit
from training.cohort.implicit import Field, rotation
from training.cohort.person import Person
from training.cohort.projection import Beam, project, rod
from training.cohort.sampling import Grid, Slab
from training.cohort.thorax.bones import skeleton
from training.cohort.thorax.cage import Chest
from training.cohort.thorax.soft import attenuation
from training.cohort.thorax.vessels import vessels
from training.cohort.visit import Visit

_PLANE_STEP = 3.5
_SOFT_PIXEL = 1.9
_SOFT_PER_PIXEL = 1.6
_FULL = 4095


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
    chest = Chest(who.thorax, film.breath, film.weight, film.effusion, film.gas, arms_down=view == "AP")
    beam = _beam(chest, film, view)
    rng = stream(who.seed, "visit", who.number, when.number, "chest film noise", view)
    line, lung = _soft(beam, chest)
    if film.opacity:
        _add_opacity(line, lung, film, rng)
    project(line, beam, skeleton(chest))
    tree = np.zeros_like(line)
    project(tree, beam, vessels(chest))
    line += tree * np.clip(lung * np.float32(1 / 45.0), 0, 1)
    if film.tube:
        _add_tube(line, beam, chest)
    shown = _process(_expose(line, film, rng), film)
    if film.marker:
        _mark(shown, view, rng)
    return np.rint(shown * _FULL).astype(np.uint16), beam.pixel


def _beam(chest: Chest, film: ChestFilmVisit, view: str) -> Beam:
    s = chest.shape
    turn = rotation(*film.turn) @ rotation(0, 0, 90.0 if view == "LL" else 0.0)
    half = {"LL": s.cage_depth / 2 + 34}.get(view, s.cage_width / 2 + 22)
    centre = turn @ np.array([0.0, float(chest.centre_y(-40.0)), 0.0])
    shift = np.array([film.shift[0] - centre[0], -centre[1], film.shift[1]])
    reach = s.cage_width / 2 + 60 if view == "LL" else s.cage_depth / 2 + 50
    detector = reach if view == "AP" else -reach
    source = detector + (-film.distance if view == "AP" else film.distance)
    grow = film.distance / (film.distance - 1.2 * reach)
    left, right, top, bottom = (v * 0.9 for v in film.edges)
    width = (2 * half) * grow + left + right
    high, low = (s.apex_height + 32) * grow + top, (chest.shape.dome_right - s.dome_difference - 62) * grow - bottom
    height = high - low
    pixel = max(width, height) / film.matrix
    shape = (int(height / pixel), int(width / pixel))
    return Beam(source, detector, pixel, -half * grow - left, high, shape, turn, shift)


def _soft(beam: Beam, chest: Chest) -> tuple[Field, Field]:
    """Line integrals of everything but bone, and millimetres of lung along each ray."""
    coarse = max(_SOFT_PIXEL, _SOFT_PER_PIXEL * beam.pixel)
    scale = coarse / beam.pixel
    rows, columns = int(np.ceil(beam.shape[0] / scale)) + 1, int(np.ceil(beam.shape[1] / scale)) + 1
    total, lung = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    for y in np.arange(-abs(beam.detector) + 2.0, abs(beam.detector) - 2.0, _PLANE_STEP):
        m = float(beam.magnification(float(y)))
        pixel = coarse / m
        bottom = (beam.top - (rows - 0.5) * coarse) / m
        grid = Grid(
            (rows, 1, columns),
            (pixel, _PLANE_STEP, pixel),
            (bottom, float(y), (beam.left + 0.5 * coarse) / m),
            beam.turn,
            beam.shift,
        )
        part, share = attenuation(Slab(grid, slice(0, rows), ()), chest)
        total += part[::-1, 0] * np.float32(_PLANE_STEP)
        lung += share[::-1, 0] * np.float32(_PLANE_STEP)
    return _enlarge(total, scale, beam.shape), _enlarge(lung, scale, beam.shape)


def _enlarge(coarse: Field, scale: float, shape: tuple[int, int]) -> Field:
    columns, rows = np.meshgrid(np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32))
    place = [((v + np.float32(0.5)) / np.float32(scale) - np.float32(0.5)) for v in (columns, rows)]
    large = cv2.remap(coarse, place[0], place[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(large, dtype=np.float32)


def _add_opacity(line: Field, lung: Field, film: ChestFilmVisit, rng: np.random.Generator) -> None:
    """A patch of consolidation somewhere in the lungs: filled air spaces with a ragged edge."""
    rows, columns = line.shape
    candidates = np.argwhere(lung > 60.0)
    if not len(candidates):
        return
    row, column = candidates[int(rng.integers(len(candidates)))]
    size = rng.uniform(0.05, 0.12) * rows
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    blob = np.exp(-0.5 * (np.square((y - row) / size) + np.square((x - column) / (size * rng.uniform(0.7, 1.4)))))
    grain = cv2.resize(rng.standard_normal((24, 24)).astype(np.float32), (columns, rows), interpolation=cv2.INTER_CUBIC)
    line += (
        np.float32(0.5 * film.opacity)
        * blob
        * np.clip(lung / np.float32(90.0), 0, 1)
        * np.clip(1 + np.float32(0.5) * grain, 0, 2)
    )


def _add_tube(line: Field, beam: Beam, chest: Chest) -> None:
    s = chest.shape
    path = np.array(
        [
            [2.0, -40.0, s.clavicle_height + 200],
            [s.trachea_shift, -26.0, s.carina + 60],
            [s.trachea_shift, -18.0, s.carina + 30],
        ]
    )
    tube = rod(path, np.array([1.0, 0, 0]), (4.4, 4.4), 0.02)
    for part in (tube, tube.scaled(0.74, -1.0)):
        project(line, beam, part)


def _expose(line: Field, film: ChestFilmVisit, rng: np.random.Generator) -> Field:
    """Beer-Lambert, scatter that follows the thickness of the patient, quantum noise; returns the log signal."""
    primary = np.exp(-line)
    small = cv2.resize(primary, None, fx=1 / 16, fy=1 / 16, interpolation=cv2.INTER_AREA)
    scatter = cv2.resize(
        cv2.GaussianBlur(np.minimum(small, np.float32(0.25)), (0, 0), 6.0),
        line.shape[::-1],
        interpolation=cv2.INTER_LINEAR,
    )
    signal = primary + np.float32(film.scatter) * scatter
    typical = np.float32(np.median(signal))
    noise = rng.standard_normal(line.shape, dtype=np.float32)
    signal += (
        np.float32(film.noise) * np.sqrt(signal * typical) * cv2.GaussianBlur(noise, (0, 0), 0.6) * np.float32(2.1)
    )
    log = -np.log(np.maximum(signal, np.float32(1e-5)))
    return np.asarray(cv2.GaussianBlur(log, (0, 0), 0.7), dtype=np.float32)


def _process(log: Field, film: ChestFilmVisit) -> Field:
    """The vendor's processing: local contrast, window by percentiles, a look-up table. Returns float32 in [0, 1]."""
    wide = cv2.resize(
        cv2.GaussianBlur(
            cv2.resize(log, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA), (0, 0), log.shape[0] / 8 / 14
        ),
        log.shape[::-1],
        interpolation=cv2.INTER_LINEAR,
    )
    log = log + np.float32(film.detail) * (log - wide)
    inner = log[log.shape[0] // 12 : -log.shape[0] // 12, log.shape[1] // 12 : -log.shape[1] // 12]
    low, high = np.quantile(inner[::4, ::4], film.window)
    shown = np.clip((log - np.float32(low)) / np.float32(high - low), -0.5, 1.5)
    shown = np.float32(0.09) + np.float32(0.87) * shown
    # A film-like curve: straight in the middle, soft at both ends.
    shown = np.float32(0.5) + np.tanh((shown - np.float32(0.5)) * np.float32(1.7)) / np.float32(2 * np.tanh(0.85))
    result: Field = np.power(np.clip(shown, 0, 1), np.float32(film.gamma))
    return result


def _mark(shown: Field, view: str, rng: np.random.Generator) -> None:
    """A lead letter at the patient's left or right shoulder."""
    rows, columns = shown.shape
    left = bool(rng.random() < 0.6)
    column = int(columns * (rng.uniform(0.88, 0.93) if left else rng.uniform(0.03, 0.07)))
    row = int(rows * rng.uniform(0.06, 0.16))
    scale = rows / 640.0
    letters = np.zeros(shown.shape, np.uint8)
    words = [("L" if left else "R", 1.1, column, row)]
    if view == "AP":
        words.append(("SUPINE", 0.45, column - int(0.02 * columns), row + int(22 * scale)))
    for text, size, x, y in words:
        thick = max(1, round(2.7 * size * scale))
        cv2.putText(letters, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size * scale, 255, thick, cv2.LINE_AA)
    np.maximum(shown, letters.astype(np.float32) / np.float32(255), out=shown)
