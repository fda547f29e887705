"""The X-ray room for heads: a frontal and a lateral film of the skull, projected, scattered, detected, processed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.cohort.chance import stream
from training.cohort.cone import Detector, line_integrals
from training.cohort.dials.skull_film import SkullFilmVisit
from training.cohort.film_look import look_up
from training.cohort.film_marks import close_shutter, mark_side
from training.cohort.head import hardware
from training.cohort.head.frame import Head
from training.cohort.head.markings import Line, markings
from training.cohort.head.phantom import head_image
from training.cohort.head.today import head_of
from training.cohort.implicit import Field, Matrix, rotation
from training.cohort.person import Person
from training.cohort.sampling import Grid, Slab
from training.cohort.visit import Visit

VIEWS = ("PA", "LL")
_FULL = 4095
_BELOW_CHIN = 42.0


@dataclass(frozen=True, slots=True)
class SkullFilm:
    """``image`` uint16 (rows, columns) in MONOCHROME2 sense (bone bright), 0 to 4095; ``spacing`` mm at the detector.

    ``view`` is ``PA`` (the patient's left on the right) or ``LL`` (left lateral, the face on the left).
    """

    view: str
    image: NDArray[np.uint16]
    spacing: float


def skull_films(who: Person, when: Visit, views: tuple[str, ...] = VIEWS) -> list[SkullFilm]:
    """The skull radiographs of a visit, in the order of ``views``. They share jaw, teeth and weight, not the pose."""
    film = when.skull_film
    head = head_of(who, when, film, down=(0.0, 0.0, -1.0))
    volume, affine = _attenuation(head, film)
    lines = markings(head, volume, affine)
    return [_film(who, when, head, volume, affine, lines, view) for view in views]


def _attenuation(head: Head, film: SkullFilmVisit) -> tuple[Field, Matrix]:
    """Linear attenuation per millimetre on a grid that is fixed to the head."""
    s, size = head.shape, film.voxel
    half = head.half_breadth + s.scalp_thickness + 16.0
    low = (s.chin_z - _BELOW_CHIN, min(head.incisor - s.nose_protrusion, head.front) - 12.0, -half)
    high = (s.vault_height + 16.0, s.vault_centre_y + head.half_length + 16.0, half)
    count = [int((b - a) / size) + 1 for a, b in zip(low, high, strict=True)]
    grid = Grid((count[0], count[1], count[2]), (size,) * 3, low, np.eye(3), np.zeros(3))
    edge = 1.1 * size

    def around(slab: Slab, image: Field) -> None:
        if film.collar:
            hardware.lay_collar(slab, image, head)

    def within(slab: Slab, image: Field) -> None:
        if film.arch_bar:
            hardware.lay_arch_bar(slab, image, head, edge)
        if film.plate:
            hardware.lay_plate(slab, image, head, edge)

    volume = head_image(grid, head, edge, around=around, within=within)
    return attenuation(volume, film.kilovolts), grid.affine()


def attenuation(units: Field, kilovolts: float) -> Field:
    """Hounsfield units to attenuation per millimetre; what is denser than water stands out more at low energy."""
    excess = (120.0 - kilovolts) / 50.0
    mu = np.float32(0.0206 + 0.002 * excess) * (np.float32(1.0) + units * np.float32(1e-3))
    mu += np.float32(2.0e-5 * (1.0 + excess)) * np.maximum(units - np.float32(120.0), 0)
    result: Field = np.maximum(mu, 0)
    return result


def _film(
    who: Person, when: Visit, head: Head, volume: Field, affine: Matrix, lines: Sequence[Line], view: str
) -> SkullFilm:
    film = when.skull_film
    rng = stream(who.seed, "visit", who.number, when.number, "skull film noise", view)
    detector, pose = _room(head, film, view)
    line = line_integrals(volume, pose @ affine, detector)
    _engrave(line, detector, pose, lines)
    shown = _process(_expose(line, film, rng), film)
    if film.shutter:
        close_shutter(shown, film.shutter, rng)
    if film.marker:
        mark_side(shown, film.marker, view, rng)
    if film.text:
        _burn_in(shown, who, when, view)
    if film.mirrored == view:
        shown = shown[:, ::-1]
    return SkullFilm(view, np.rint(shown * _FULL).astype(np.uint16), detector.pixel)


def _room(head: Head, film: SkullFilmVisit, view: str) -> tuple[Detector, Matrix]:
    """Where detector and source stand, and the (4, 4) pose of the head between them."""
    pitch, roll, yaw, aside, up = film.frontal if view == "PA" else film.lateral
    turn = rotation(pitch, roll, yaw)
    s = head.shape
    centre = np.array([0.0, s.vault_centre_y - 4.0, 0.5 * (s.vault_height + s.chin_z)])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn, -turn @ centre
    lateral = view == "LL"
    reach = (head.half_breadth if lateral else head.half_length + 14.0) + film.gap
    grow = film.distance / (film.distance - reach)
    left, right, top, bottom = film.edges
    half = head.half_length + 16.0 if lateral else head.half_breadth + 14.0
    high = 0.5 * (s.vault_height - s.chin_z) + 10.0
    width, height = (2 * half + left + right) * grow, (2 * high + top + bottom) * grow
    pixel = max(width, height) / film.matrix
    shape = (int(height / pixel), int(width / pixel))
    u, v = -(half + left) * grow + aside, (high + top) * grow + up
    down = np.array([0.0, 0.0, -1.0])
    if lateral:
        source = np.array([reach - film.distance, 0.0, 0.0])
        return Detector(source, np.array([reach, u, v]), np.array([0.0, 1.0, 0.0]), down, pixel, shape), pose
    source = np.array([0.0, film.distance - reach, 0.0])
    return Detector(source, np.array([u, -reach, v]), np.array([1.0, 0.0, 0.0]), down, pixel, shape), pose


def _engrave(line: Field, detector: Detector, pose: Matrix, lines: Sequence[Line]) -> None:
    """Takes the attenuation of sutures and grooves away, at the detector's own resolution."""
    for one in lines:
        rows, columns = detector.place(one.points @ pose[:3, :3].T + pose[:3, 3])
        path = np.rint(np.stack([columns, rows], axis=1) * 16).astype(np.int32)
        mask = np.zeros(line.shape, np.uint8)
        thick = max(1, round(one.width / detector.pixel))
        cv2.polylines(mask, [path[:, None]], False, 255, thick, cv2.LINE_AA, shift=4)
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.35 * one.width / detector.pixel)
        line -= np.float32(one.depth / 255.0) * soft
    np.maximum(line, 0, out=line)


def _expose(line: Field, film: SkullFilmVisit, rng: np.random.Generator) -> Field:
    """Beer-Lambert, scatter that follows the thickness of the patient, quantum noise; returns the log signal."""
    primary = np.exp(-line)
    small = cv2.resize(np.minimum(primary, np.float32(0.3)), None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA)
    scatter = cv2.resize(cv2.GaussianBlur(small, (0, 0), 7.0), line.shape[::-1], interpolation=cv2.INTER_LINEAR)
    signal = primary + np.float32(film.scatter) * scatter
    typical = np.float32(np.median(signal))
    noise = cv2.GaussianBlur(rng.standard_normal(line.shape, dtype=np.float32), (0, 0), 0.6)
    signal += np.float32(2.1 * film.noise) * np.sqrt(signal * typical) * noise
    return np.asarray(-np.log(np.maximum(signal, np.float32(1e-5))), dtype=np.float32)


def _process(log: Field, film: SkullFilmVisit) -> Field:
    """The vendor's processing: local contrast at two scales, window by percentiles, a curve. float32 in [0, 1]."""
    small = cv2.resize(log, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA)
    wide = cv2.resize(
        cv2.GaussianBlur(small, (0, 0), log.shape[0] / 8 / 16), log.shape[::-1], interpolation=cv2.INTER_LINEAR
    )
    fine = cv2.GaussianBlur(log, (0, 0), log.shape[0] / 300)
    log = log + np.float32(film.detail) * (log - wide) + np.float32(0.9 * film.detail) * (log - fine)
    rows, columns = log.shape
    inner = log[rows // 10 : -rows // 10 : 4, columns // 10 : -columns // 10 : 4]
    body = inner[inner > np.quantile(inner, 0.28)]
    low, high = np.quantile(body, film.window)
    shown = np.float32(0.12) + np.float32(0.76) * (log - np.float32(low)) / np.float32(high - low)
    return look_up(shown, film.table, film.gamma)


def _burn_in(shown: Field, who: Person, when: Visit, view: str) -> None:
    """The patient's ID, name and date, and the technique."""
    scale = shown.shape[0] / 640.0
    letters = np.zeros(shown.shape, np.uint8)
    texts = (who.patient_id, who.name, when.moment.strftime("%d.%m.%Y %H:%M"), f"SKULL {view}", when.devices["DX"])
    for n, text in enumerate(texts, start=1):
        place = (int(8 * scale), int(17 * scale * n))
        cv2.putText(
            letters, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42 * scale, 255, max(1, round(scale)), cv2.LINE_AA
        )
    np.maximum(shown, letters.astype(np.float32) / np.float32(255), out=shown)
