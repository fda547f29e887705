"""Depth images: what a camera sees, and the cache that keeps it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from config.errors import StorageError
from inference.imaging.depth import face_depth
from inference.imaging.depth_image import Camera, DepthSpec, Turn, adjusted, seen_share
from tests.faces.scans import TURNS, Solid, face_of, solid
from training.faces.depth_images import DepthCache, visit_of, write_image
from training.faces.source_domain import drawn_faces
from training.learning.catalogue import Image
from training.manifests.files import read_manifest
from training.manifests.images import load_row
from training.manifests.schema import Row

SPEC = DepthSpec(64)


def _nobody(done: int, total: int) -> None:
    """Tells nobody."""


def test_near_is_bright_and_background_is_nothing() -> None:
    camera = Camera(DepthSpec(128), renderer="cpu")
    face = face_of(70.0)
    depth = face_depth(face, size=128, renderer="cpu")
    (taken,) = camera.take(face, [Turn()])
    shown = taken.pixels > 0
    assert (shown == depth.mask).mean() > 0.99
    both = shown & depth.mask & (taken.pixels < 255)
    assert np.corrcoef(taken.pixels[both].astype(float), -depth.depth[both])[0, 1] > 0.999
    row, column = np.unravel_index(taken.pixels.argmax(), taken.pixels.shape)
    assert max(abs(int(row) - 64), abs(int(column) - 64)) < 8, "the brightest is not the nose"


def test_every_camera_sees_the_same_piece_of_skin() -> None:
    camera = Camera(DepthSpec(96), renderer="cpu")
    face = face_of(70.0)
    frontal, up, down = camera.take(face, [Turn(), Turn(pitch=20.0), Turn(pitch=-20.0)])
    for turned in (up, down):
        closed = cv2.morphologyEx((turned.pixels > 0).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9)))
        assert (closed > 0).sum() < 1.02 * (turned.pixels > 0).sum(), "what comes closer left a hole"
    assert frontal.seen == 1.0


@pytest.mark.egl
def test_both_renderers_take_the_same_image() -> None:
    cameras = [Camera(DepthSpec(96), renderer=name) for name in ("cpu", "vtk")]
    face = face_of(70.0)
    first, second = (next(iter(camera.take(face, [Turn(pitch=10.0)]))).pixels.astype(int) for camera in cameras)
    assert np.mean(np.abs(first - second) > 4) < 0.01


def test_adjustment_stretches_what_is_above_the_floor() -> None:
    grey = np.zeros((20, 20))
    grey[5:15, 5:15] = np.linspace(80.0, 140.0, 100).reshape(10, 10)
    stretched = adjusted(grey, 20.0)
    assert stretched[0, 0] == 0 and stretched[14, 14] == 255
    assert stretched[5, 5] == round(255 * (80.0 - 20.0) / (np.percentile(grey[grey > 0], 99.5) - 20.0))
    assert not adjusted(np.zeros((4, 4)), 0.0).any()


def test_what_is_separated_is_not_seen() -> None:
    whole = Camera(SPEC, renderer="cpu")
    half = Camera(SPEC, separate=lambda depth: np.arange(64)[None, :] * np.ones((64, 1)) < 32, renderer="cpu")
    face = face_of(70.0)
    (all_of_it,), (part,) = whole.take(face, [Turn()]), half.take(face, [Turn()])
    assert not part.pixels[:, 32:].any() and part.pixels[:, :32].any()
    assert part.seen == pytest.approx(all_of_it.seen / 2, abs=0.02)


def test_only_the_middle_of_a_face_counts_as_seen() -> None:
    mask = np.ones((100, 100), bool)
    mask[:20] = mask[80:] = False
    assert seen_share(mask, 2.0) == 1.0
    assert seen_share(~mask, 2.0) == 0.0


@pytest.mark.parametrize("values", [{"image": 16}, {"threshold": -500.0}, {"threshold": 0.0}, {"floor": -1.0}])
def test_no_spec_is_beyond_sense(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"goes from|between"):
        DepthSpec(**values)  # type: ignore[arg-type]


def test_a_cache_has_an_image_of_every_pose_and_says_whose(tmp_path: Path) -> None:
    scans = [solid(70.0, "a", "ct 1", days=3), solid(64.0, "b", "ct 2"), solid(0.0, "c", "ct 3")]
    made = DepthCache(tmp_path, SPEC).fill(scans, 1, _nobody)
    assert [(one.row.patient_id, one.reason) for one in made.refused] == [("c", "NO_FACE")]
    assert made.manifest is not None
    rows = list(made.manifest.rows())
    assert [(row.patient_id, row.view) for row in rows] == [(p, turn.name) for p in "ab" for turn in TURNS]
    assert {row.study for row in rows} == {"day 3", "ct 2"}
    assert rows[0].labels == {"modality": "CT", "study": "ct 1"} and rows[0].series == "a-ct 1"
    image = load_row(made.manifest, rows[0]).images[0]
    stored = _read(made.manifest.file(rows[0]))
    assert image.kind == "photograph" and (image.pixels == stored[..., None]).all(), "the loader changed its greys"


def test_images_of_one_day_are_of_one_visit() -> None:
    ct, mr = Row("x", "p", "ct study", days=8), Row("y", "p", "mr study", days=8)
    assert visit_of(ct) == visit_of(mr) != visit_of(replace(mr, days=9))
    assert visit_of(replace(ct, days=None)) != visit_of(replace(mr, days=None))


def _read(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)


class Counted:
    """A scan that counts how often its face was asked for."""

    def __init__(self, scan: Solid) -> None:
        self.row, self.key, self.turns, self._scan, self.asked = scan.row, scan.key, scan.turns, scan, 0

    def face(self, camera: Camera) -> object:
        self.asked += 1
        return self._scan.face(camera)


def test_nothing_is_made_twice_and_a_torn_line_is_made_anew(tmp_path: Path) -> None:
    scans = [Counted(solid(70.0, "a")), Counted(solid(0.0, "b"))]
    first = DepthCache(tmp_path, SPEC).fill(scans, 1, _nobody)  # type: ignore[arg-type]
    DepthCache(tmp_path, SPEC).fill(scans, 1, _nobody)  # type: ignore[arg-type]
    assert [scan.asked for scan in scans] == [1, 1]
    journal = tmp_path / "scans.jsonl"
    content = journal.read_bytes()
    journal.write_bytes(content[:-5])
    again = DepthCache(tmp_path, SPEC).fill(scans, 1, _nobody)  # type: ignore[arg-type]
    assert [scan.asked for scan in scans] == [1, 2]
    assert journal.read_bytes() == content
    assert first.refused == again.refused


def test_what_a_killed_process_left_behind_is_made_anew(tmp_path: Path) -> None:
    scan = Counted(solid(70.0, "a"))
    made = DepthCache(tmp_path, SPEC).fill([scan], 1, _nobody)  # type: ignore[list-item]
    assert made.manifest is not None
    path = made.manifest.file(next(made.manifest.rows()))
    whole = path.read_bytes()
    path.write_bytes(b"half")
    (tmp_path / "scans.jsonl").unlink()
    DepthCache(tmp_path, SPEC).fill([scan], 1, _nobody)  # type: ignore[list-item]
    assert path.read_bytes() == whole


def test_other_poses_and_another_spec_are_other_images(tmp_path: Path) -> None:
    scan = solid(70.0)
    caches = [DepthCache(tmp_path, spec) for spec in (SPEC, DepthSpec(48), replace(SPEC, floor=9))]
    paths = {next(made.manifest.rows()).path for cache in caches if (made := cache.fill([scan], 1, _nobody)).manifest}
    made = caches[0].fill([replace(scan, turns=TURNS[:1])], 1, _nobody)
    assert made.manifest is not None
    assert len({*paths, next(made.manifest.rows()).path}) == 4


def test_a_cache_without_room_says_so(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "images").write_bytes(b"")
    else:
        tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="cannot be written"):
        DepthCache(tmp_path, SPEC).fill([solid(70.0)], 1, _nobody)


def test_a_volume_that_cannot_be_loaded_is_refused_by_the_loaders_name(tmp_path: Path) -> None:
    from training.faces.depth_images import Volume
    from training.manifests.files import write_manifest

    write_manifest(tmp_path / "manifest.csv", [Row("nowhere", "p", "s", modality="CT")])
    manifest = read_manifest(tmp_path / "manifest.csv")
    scan = Volume(Image(0, manifest, next(manifest.rows())), TURNS)
    made = DepthCache(tmp_path / "cache", SPEC).fill([scan], 1, _nobody)
    assert made.manifest is None and [one.reason for one in made.refused] == ["MISSING_FILE"]


def test_a_written_image_is_read_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (33, 47), np.uint8)
    write_image(tmp_path / "new" / "one.png", pixels)
    assert (_read(tmp_path / "new" / "one.png") == pixels).all()


def test_persons_of_the_source_domain_have_faces_of_their_own_that_stay_theirs() -> None:
    camera = Camera(SPEC, renderer="cpu")
    scans = drawn_faces(seed=7719, persons=3, visits=2, views=2)
    assert len({scan.key for scan in scans}) == 6 and all(len(scan.turns) in (1, 2) for scan in scans)
    images = []
    for scan in scans:
        (taken,) = camera.take(scan.face(camera), [Turn()])
        assert taken.seen > 0.97
        images.append(taken.pixels.astype(float))
    apart = np.array([[np.abs(one - other).mean() for other in images] for one in images])
    own = [apart[2 * n, 2 * n + 1] for n in range(3)]
    others = [apart[i, j] for i in range(6) for j in range(i + 1, 6) if i // 2 != j // 2]
    assert max(own) < min(others)
