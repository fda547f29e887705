"""Face photographs: rays meet surfaces, light comes from where it should, and persons look like themselves."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from tests.cohort.floors import pixel_rank_1
from training.cohort.dials.face_photo import FacePhotoDials
from training.cohort.dicom_face import write_face_photos
from training.cohort.face_photo import face_photos
from training.cohort.head.cloud import Cloud
from training.cohort.head.frame import Head
from training.cohort.head.look import look_of
from training.cohort.head.surface import Tracer
from training.cohort.implicit import Ellipsoid, Field
from training.cohort.person import Person, person
from training.cohort.sampling import Slab
from training.cohort.visit import Dials, Visit, visit

SMALL = Dials(face_photo=FacePhotoDials(matrix=120))


def plain(who: Person, number: int = 0, **changes: object) -> Visit:
    """A visit photographed straight on in even light before a dark wall."""
    when = visit(who, number, SMALL)
    shots = tuple(
        replace(shot, tilt=(0.0, 0.0, 0.0), shift=(0.0, 0.0), light=(0.0, 20.0), ambient=0.4, exposure=0.0)
        for shot in when.face_photo.shots
    )
    still = replace(
        when.face_photo, shots=shots, warmth=0.0, contrast=1.0, noise=0.0, background=(0.02,) * 3, frame=340.0
    )
    return replace(when, face_photo=replace(still, **changes))  # type: ignore[arg-type]


def ball_tracer() -> Tracer:
    def surface(slab: Slab) -> Field:
        field = slab.full(1e3)
        slab.unite(field, Ellipsoid((0, 0, 0), (30, 30, 30)))
        return field

    head = Head(replace(person(1, 1).head, warp=()))
    return Tracer.of(surface, head, np.full(3, -50.0), np.full(3, 50.0))


def test_rays_meet_a_ball_where_it_is() -> None:
    tracer = ball_tracer()
    offsets = np.linspace(-40, 40, 41)
    start = np.stack(np.meshgrid(offsets, offsets, indexing="ij"), axis=-1).reshape(-1, 2)
    start = np.stack([start[:, 0], np.full(len(start), -200.0), start[:, 1]], axis=1)
    rays = np.broadcast_to([0.0, 1.0, 0.0], start.shape)
    hit, reach = tracer.meet(start, rays)
    far = np.hypot(start[:, 0], start[:, 2])
    assert hit[far < 28].all()
    assert not hit[far > 31.5].any()
    points = start[hit] + rays[hit] * reach[hit, None]
    distance, normals = tracer.exact(points)
    exact = points - normals * distance[:, None]
    inner = far[hit] < 27
    assert np.abs(np.linalg.norm(exact[inner], axis=1) - 30).max() < 0.1
    assert np.sum(normals[inner] * exact[inner] / 30, axis=1).min() > 0.999


def test_a_camera_sees_the_same_with_and_without_scouts() -> None:
    tracer = ball_tracer()
    v, u = np.mgrid[-45:45:61j, -45:45:61j]
    rays = np.stack([u, np.full(u.shape, 300.0), -v], axis=-1)
    rays /= np.linalg.norm(rays, axis=2, keepdims=True)
    start = np.array([0.0, -300.0, 0.0])
    hit, points = tracer.picture(start, rays)
    flat = rays.reshape(-1, 3)
    every, reach = tracer.meet(np.broadcast_to(start, flat.shape), flat)
    assert np.mean(hit.ravel() != every) < 0.01
    both = hit.ravel() & every
    assert np.abs(points.reshape(-1, 3)[both] - (start + flat * reach[:, None])[both]).max() < 0.5


def test_light_reaches_the_side_that_faces_it_and_nothing_behind() -> None:
    tracer = ball_tracer()
    light = np.array([0.0, 0.0, 1.0])
    faces = np.array([[0.0, 0.0, 30.5], [18.0, 0.0, 24.6]])
    assert tracer.lit(faces, light).min() > 0.9
    assert tracer.lit(np.array([[0.0, 0.0, -30.5]]), light).max() < 0.1
    assert tracer.open(faces, faces / 30.5).min() > 0.95


def test_a_cloud_evaluates_like_a_grid_in_any_order() -> None:
    rng = np.random.default_rng(4)
    points = rng.uniform(-40, 40, (500, 3))
    shape = Ellipsoid((3, 4, 5), (12, 16, 20), (10, 20, 30))
    cloud = Cloud(points, ())
    field = cloud.full(1e3)
    cloud.unite(field, shape, blend=3.0)
    found = cloud.in_order(field)
    direct = np.array([float(shape.distance(Cloud(p[None], ()).points)[0, 0, 0]) for p in points[:150]])
    near = direct < 1.0
    assert near.sum() > 2
    assert found[:150][near] == pytest.approx(direct[near], abs=1e-3)


def test_the_same_visit_gives_the_same_pictures() -> None:
    who = person(41, 1)
    first, second = (face_photos(who, visit(who, 0, SMALL)) for _ in range(2))
    assert len(first) == 3
    for a, b in zip(first, second, strict=True):
        assert a.dtype == np.uint8
        assert a.shape == (120, 96, 3)
        assert np.array_equal(a, b)


def figure(picture: np.ndarray) -> np.ndarray:
    """Where the person stands out from the dark wall."""
    return picture.astype(int).sum(axis=2) > 150


def test_profiles_look_to_their_own_side() -> None:
    who = person(41, 2)
    when = plain(who)
    shots = when.face_photo.shots
    when = replace(
        when, face_photo=replace(when.face_photo, shots=tuple(replace(shots[0], view=v) for v in ("RIGHT", "LEFT")))
    )
    right, left = (figure(picture) for picture in face_photos(who, when))
    middle = slice(int(0.35 * 120), int(0.65 * 120))
    # The head is longer behind the ears than the face before them is bare: the nose is the outermost point in front.
    front = [shape[middle].any(axis=0) for shape in (right, left)]
    assert np.flatnonzero(front[0]).max() < 95
    assert np.corrcoef(right[:80].ravel(), left[:80, ::-1].ravel())[0, 1] > 0.8
    assert np.corrcoef(right[:80].ravel(), left[:80].ravel())[0, 1] < 0.8


def test_the_side_that_the_light_comes_from_is_brighter() -> None:
    who = person(41, 3)
    when = plain(who)
    shot = replace(when.face_photo.shots[0], ambient=0.15)
    lit = replace(when.face_photo, shots=tuple(replace(shot, light=(a, 10.0)) for a in (60.0, -60.0)))
    right, left = face_photos(who, replace(when, face_photo=lit))
    half = right.shape[1] // 2
    face = slice(45, 75)
    assert right[face, half:].mean() > 1.15 * right[face, :half].mean()
    assert left[face, :half].mean() > 1.15 * left[face, half:].mean()


def tone(who: Person, number: int) -> np.ndarray:
    """Mean colour of the cheeks in even light."""
    picture = face_photos(who, plain(who, number, mask=False, beard=0.0, matrix=120))[0].astype(float)
    return np.asarray(picture[60:70, 38:58].reshape(-1, 3).mean(axis=0))


def test_complexion_stays_with_the_person() -> None:
    people = sorted((person(42, n) for n in range(1, 30)), key=lambda who: look_of(who, 40.0).skin[1])
    dark, light = people[0], people[-1]
    assert tone(light, 0)[1] > tone(dark, 0)[1] + 40
    assert np.abs(tone(dark, 0) - tone(dark, 1)).max() < 25


def test_hair_turns_grey_and_faces_line() -> None:
    who = person(42, 3)
    young, old = look_of(who, 25.0), look_of(who, 85.0)
    assert old.grey > 0.8 > 0.2 > young.grey
    assert old.wrinkles > young.wrinkles
    assert (old.skin, old.iris, old.moles) == (young.skin, young.iris, young.moles)


def covered(change: dict[str, object]) -> float:
    who = person(41, 4)
    bare, worn = (face_photos(who, plain(who, **each))[0].astype(int) for each in ({}, change))
    return float(np.mean(np.abs(bare - worn).max(axis=2) > 30))


@pytest.mark.parametrize("name", ["cap", "mask", "bandage"])
def test_what_is_worn_is_seen(name: str) -> None:
    assert covered({name: True}) > 0.02


def floor(of: Callable[[list[np.ndarray]], np.ndarray]) -> float:
    people = [person(43, n) for n in range(1, 51)]
    quick = Dials(face_photo=FacePhotoDials(matrix=40, views=("FRONTAL", "RIGHT")))
    pictures = [[of(face_photos(who, visit(who, number, quick))).mean(axis=2) for who in people] for number in (0, 1)]
    return pixel_rank_1(pictures[0], pictures[1])


@pytest.mark.slow
def test_32_x_32_pixels_do_not_tell_persons_apart() -> None:
    assert floor(lambda pictures: np.concatenate(pictures, axis=1)) < 0.2


def test_files_hold_the_pictures(tmp_path: Path) -> None:
    who = person(41, 5)
    when = visit(who, 0, SMALL)
    images = write_face_photos(tmp_path, who, when)
    assert [image.view for image in images] == ["FRONTAL", "FRONTAL", "RIGHT"]
    assert len({image.instance for image in images}) == 3
    for image, picture in zip(images, face_photos(who, when), strict=True):
        assert np.array_equal(pydicom.dcmread(image.files[0]).pixel_array, picture)


@pytest.mark.dicom3tools
def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    who = person(41, 6)
    for image in write_face_photos(tmp_path, who, visit(who, 0, SMALL)):
        said = subprocess.run(["dciodvfy", str(image.files[0])], capture_output=True, text=True, check=False)
        assert not [line for line in said.stderr.splitlines() if line.startswith(("Error", "Warning"))]
