"""Whether two photographs show one eye: the map between them, and scores that know an eye from another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from config.errors import ImagingError
from inference.types import LoadedSeries
from inference.verification.fundus import FundusVerifier
from inference.verification.fundus_vessels import SIZE
from inference.verification.protocol import Template, Verifier
from tests.verification.synthetic_pictures import eye, loaded, matrix, warped

VERIFIER = FundusVerifier()
STRANGERS = range(2, 10)


def photograph(pixels: NDArray[np.generic]) -> LoadedSeries:
    return loaded(np.ascontiguousarray(pixels, dtype=np.uint8), "fundus")


def template(pixels: NDArray[np.generic]) -> Template:
    made = VERIFIER.template(photograph(pixels))
    assert made is not None
    return made


@pytest.fixture(scope="module")
def enrolled() -> Template:
    return template(eye(1))


@pytest.fixture(scope="module")
def worst(enrolled: Template) -> float:
    """The best score that another eye reaches."""
    return max(VERIFIER.score(template(eye(person)), enrolled) for person in STRANGERS)


def seen_again(picture: NDArray[np.uint8], degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """The same retina through the same aperture, turned, magnified and centred elsewhere."""
    moved = warped(picture, matrix(picture.shape[:2], degrees, scale, shift))
    y, x = np.mgrid[0 : len(picture), 0 : len(picture)] / len(picture) - 0.5
    return np.asarray(moved * (np.hypot(x, y) < 0.47)[:, :, None], np.uint8)


def test_it_is_a_verifier_of_fundus_photographs_alone(enrolled: Template) -> None:
    assert isinstance(VERIFIER, Verifier)
    assert VERIFIER.accepts(photograph(eye(1)))
    film = loaded(np.zeros((200, 200), np.float32))
    assert not VERIFIER.accepts(film)
    with pytest.raises(ImagingError):
        VERIFIER.template(film)
    with pytest.raises(ImagingError):
        VERIFIER.template(replace(photograph(eye(1)), pixels=np.full((300, 300, 3), np.nan)))
    assert len(enrolled.data) <= 8192


@pytest.mark.parametrize(
    ("degrees", "scale", "shift"),
    [(0, 1, (0, 0)), (9, 1, (0.1, -0.08)), (-12, 1.25, (-0.1, 0)), (5, 0.8, (0.02, 0.03))],
)
@pytest.mark.parametrize("size", [400, 640, 1500])
def test_the_map_between_two_photographs_is_recovered(
    size: int, degrees: float, scale: float, shift: tuple[float, float]
) -> None:
    reference = eye(1)
    move = matrix(reference.shape[:2], degrees, scale, shift)
    probe = cv2.resize(warped(reference, move), (size, size), interpolation=cv2.INTER_AREA)
    reference_frame, probe_frame = (frame(picture) for picture in (reference, probe))
    larger = np.diag([640 / size, 640 / size, 1.0])
    larger[:2, 2] = 320 / size - 0.5
    true = reference_frame @ np.linalg.inv(move) @ larger @ np.linalg.inv(probe_frame)
    found = VERIFIER.compare(template(probe), template(reference))
    middle = probe_frame @ np.linalg.inv(larger) @ move @ np.array([[320.0, 250, 420], [320, 280, 400], [1, 1, 1]])
    assert np.abs((found.transform - true) @ middle).max() < 1.5
    assert found.score > 0.7


def frame(picture: NDArray[np.generic]) -> NDArray[np.float64]:
    """Pixels of a photograph onto those of its template: the field fills the square."""
    lit = np.argwhere(picture.max(axis=2) > 25)
    (top, left), (bottom, right) = lit.min(axis=0), lit.max(axis=0) + 1
    edge = max(bottom - top, right - left)
    scale = SIZE / edge
    corner = np.array([(left + right - edge) / 2, (top + bottom - edge) / 2])
    made = np.diag([scale, scale, 1.0])
    made[:2, 2] = (0.5 - corner) * scale - 0.5
    return made


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda p: seen_again(p, 7, 1.0, (-0.25, 0.05)), id="centred on the disc"),
        pytest.param(lambda p: seen_again(p, 0, 1.35, (0, 0)), id="a narrow field"),
        pytest.param(lambda p: seen_again(p, 0, 1.8, (0, 0)), id="half the field"),
        pytest.param(lambda p: cv2.GaussianBlur(p, (0, 0), 2.2), id="blurred"),
        pytest.param(lambda p: (p * 0.35 + 95) * (p.max(axis=2, keepdims=True) > 20), id="hazy"),
        pytest.param(lambda p: np.repeat(p[:, :, 1:2], 3, axis=2), id="red-free"),
        pytest.param(lambda p: p[:, :, [1, 1, 0]] * [0.9, 1.1, 0.5], id="colours of another camera"),
        pytest.param(lambda p: p * np.linspace(0.35, 1.0, p.shape[1])[None, :, None], id="lit from one side"),
        pytest.param(lambda p: cv2.resize(p, (200, 200), interpolation=cv2.INTER_AREA), id="small"),
        pytest.param(lambda p: p[80:-80, 60:-60], id="cropped to a rectangle"),
    ],
)
def test_what_cameras_and_media_do_leaves_an_eye_above_every_other(
    change: Callable[[NDArray[np.uint8]], NDArray[np.generic]], enrolled: Template, worst: float
) -> None:
    assert VERIFIER.score(template(change(eye(1))), enrolled) > worst + 0.1


def test_the_mirrored_eye_is_another_eye(enrolled: Template, worst: float) -> None:
    """Left and right are not told by their labels, and never by mirroring."""
    mirrored = eye(1)[:, ::-1]
    assert VERIFIER.score(template(mirrored), enrolled) < worst + 0.1


def test_laterality_of_the_header_counts_for_nothing(enrolled: Template) -> None:
    probe = template(seen_again(eye(1), 4, 1.0, (0.05, 0)))
    scores = {
        VERIFIER.score(replace(probe, laterality=side), replace(enrolled, laterality="R")) for side in ("R", "L", "")
    }
    assert len(scores) == 1


def test_scores_are_symmetric_repeatable_and_the_transforms_inverse(enrolled: Template) -> None:
    probe = template(seen_again(eye(1), 5, 1.1, (0.1, 0.05)))
    forth, back = VERIFIER.compare(probe, enrolled), VERIFIER.compare(enrolled, probe)
    assert forth.score == back.score == VERIFIER.score(probe, enrolled) == FundusVerifier().score(enrolled, probe)
    np.testing.assert_allclose(forth.transform @ back.transform, np.eye(3), atol=1e-9)
    assert template(eye(1)).data == enrolled.data
    assert 0 <= forth.score <= 1


def test_the_overlay_and_its_figures(enrolled: Template) -> None:
    found = VERIFIER.compare(template(seen_again(eye(1), 5, 1.0, (0.1, 0.0))), enrolled)
    assert found.overlay.dtype == np.uint8
    assert found.overlay.shape == (512, 512, 3)
    assert found.details["inliers"] >= 10
    assert found.details["inliers"] <= found.details["matches"]
    assert found.details["blocks_agreeing"] > 0.7 * found.details["blocks"]
    assert all(np.isfinite(value) for value in found.details.values())


def test_an_eye_without_a_vessel_in_common_scores_nothing_and_still_has_an_overlay(enrolled: Template) -> None:
    y, x = np.mgrid[0:400, 0:400] / 400 - 0.5
    lit = (np.hypot(x, y) < 0.48)[:, :, None]
    smooth = (120 + 20 * np.sin(9 * x + 4 * y))[:, :, None] * lit * np.ones(3)
    made = VERIFIER.template(photograph(smooth))
    if made is not None:
        found = VERIFIER.compare(made, enrolled)
        assert found.score < 0.3
        assert found.overlay.shape == (512, 512, 3)


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(np.zeros((300, 300, 3)), id="black"),
        pytest.param(np.full((300, 300, 3), 128), id="constant"),
        pytest.param(np.random.default_rng(0).integers(0, 255, (20, 20, 3)), id="tiny"),
        pytest.param(np.zeros((0, 0, 3)), id="empty"),
        pytest.param(np.eye(300)[:, :, None] * np.full(3, 255), id="a line"),
    ],
)
def test_nothing_to_compare_is_none(pixels: NDArray[np.generic]) -> None:
    assert VERIFIER.template(photograph(pixels)) is None
