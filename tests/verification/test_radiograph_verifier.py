"""Whether two films show one chest: the map between them, and scores that know a person from a stranger."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from config.errors import ImagingError
from inference.verification.protocol import Template, Verifier
from inference.verification.radiograph import RadiographVerifier
from tests.verification.synthetic_pictures import cropped, film, loaded, matrix, warped

VERIFIER = RadiographVerifier()
STRANGERS = range(2, 10)


def template(pixels: NDArray[np.generic], name: str = "1") -> Template:
    made = VERIFIER.template(loaded(pixels.astype(np.float32), name=name))
    assert made is not None
    return made


@pytest.fixture(scope="module")
def enrolled() -> Template:
    return template(film(1))


@pytest.fixture(scope="module")
def worst(enrolled: Template) -> float:
    """The best score that a stranger reaches."""
    return max(VERIFIER.score(template(film(person)), enrolled) for person in STRANGERS)


def test_it_is_a_verifier_of_radiographs_alone() -> None:
    assert isinstance(VERIFIER, Verifier)
    assert VERIFIER.accepts(loaded(film(1)))
    assert not VERIFIER.accepts(loaded(np.zeros((200, 200, 3), np.uint8), "fundus"))
    with pytest.raises(ImagingError):
        VERIFIER.template(loaded(np.zeros((200, 200, 3), np.uint8), "fundus"))


def test_a_template_names_its_maker_and_its_source(enrolled: Template) -> None:
    assert (enrolled.verifier, enrolled.version) == ("radiograph", VERIFIER.version)
    assert (enrolled.study_uid, enrolled.series_uid, enrolled.modality) == ("1.2.1", "1.2.1.1", "DX")
    assert len(enrolled.data) < 9000


@pytest.mark.parametrize("size", [(2100, 1800), (700, 600), (224, 224), (64, 64)])
@pytest.mark.parametrize(
    ("degrees", "scale", "shift"), [(0, 1, (0, 0)), (5, 1.1, (0.04, -0.05)), (-7, 0.86, (0, 0.06))]
)
def test_the_map_between_two_films_is_recovered(
    size: tuple[int, int], degrees: float, scale: float, shift: tuple[float, float]
) -> None:
    reference = film(1, (700, 600))
    move = matrix(reference.shape, degrees, scale, shift)
    probe = cv2.resize(warped(reference, move), size[::-1], interpolation=cv2.INTER_AREA)
    found = VERIFIER.compare(template(probe), template(reference)).transform
    edge = 128
    onto = np.diag([edge / 600, edge / 700, 1.0])
    onto[:2, 2] = 0.5 * onto[[0, 1], [0, 1]] - 0.5
    true = onto @ np.linalg.inv(move) @ np.linalg.inv(onto)
    places = np.array([[34.0, 94, 34, 94], [34, 34, 94, 94], [1, 1, 1, 1]])
    assert np.abs((found - true) @ places).max() < (1.0 if min(size) > 64 else 2.0)


def collimated(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Black outside of a window, as on films; bright letters within."""
    shown = picture.copy()
    rows, columns = shown.shape
    shown[: rows // 12] = shown[-rows // 9 :] = 0
    shown[:, : columns // 10] = shown[:, -columns // 15 :] = 0
    letters = np.zeros(shown.shape, np.uint8)
    cv2.putText(letters, "PORTABLE 12:30", (columns // 8, rows // 6), cv2.FONT_HERSHEY_SIMPLEX, 1.4, 255, 4)
    return np.maximum(shown, letters.astype(np.float32) / 255)


def with_holes(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    holed = picture.copy()
    holed[100:160, 200:300], holed[400:420, 50:90] = np.nan, np.inf
    return holed


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda p: cropped(p, 0.08), id="cropped"),
        pytest.param(lambda p: cropped(p, 0.13), id="cropped hard"),
        pytest.param(lambda p: p**1.8, id="other look-up table"),
        pytest.param(lambda p: 0.4 + 0.3 * p, id="flat"),
        pytest.param(lambda p: 1 - p, id="MONOCHROME1 taken for MONOCHROME2"),
        pytest.param(lambda p: cv2.resize(p, (224, 224), interpolation=cv2.INTER_AREA), id="squashed"),
        pytest.param(lambda p: cv2.resize(p, (64, 64), interpolation=cv2.INTER_AREA), id="thumbnail"),
        pytest.param(lambda p: warped(p, matrix(p.shape, 6, 0.86)), id="turned and smaller"),
        pytest.param(lambda p: warped(p, matrix(p.shape, -6, 1.18, (0.06, 0.05))), id="turned, larger and shifted"),
        pytest.param(collimated, id="collimated, with letters"),
        pytest.param(with_holes, id="values that are no numbers"),
    ],
)
def test_what_exposure_and_framing_do_to_a_film_leaves_it_above_every_stranger(
    change: Callable[[NDArray[np.float32]], NDArray[np.generic]], enrolled: Template, worst: float
) -> None:
    assert VERIFIER.score(template(change(film(1))), enrolled) > worst + 0.1


def test_letters_and_border_alone_are_no_likeness(enrolled: Template) -> None:
    """Two strangers with the same burned-in text and collimation are no more alike than without."""
    first, second = film(1), film(4)
    plain = VERIFIER.score(template(second), enrolled)
    marked = VERIFIER.score(template(collimated(second)), template(collimated(first)))
    assert marked < plain + 0.1


def test_scores_are_symmetric_repeatable_and_the_transforms_inverse(enrolled: Template) -> None:
    probe = template(warped(film(1), matrix((700, 600), 4, 1.05)), "2")
    forth, back = VERIFIER.compare(probe, enrolled), VERIFIER.compare(enrolled, probe)
    assert forth.score == back.score == VERIFIER.score(probe, enrolled) == RadiographVerifier().score(enrolled, probe)
    np.testing.assert_allclose(forth.transform @ back.transform, np.eye(3), atol=1e-9)
    assert template(film(1)).data == enrolled.data
    assert 0 <= forth.score <= 1


def test_the_overlay_shows_agreement_and_disagreement(enrolled: Template) -> None:
    mate = VERIFIER.compare(template(warped(film(1), matrix((700, 600), 3))), enrolled)
    stranger = VERIFIER.compare(template(film(5)), enrolled)
    for one in (mate, stranger):
        assert one.overlay.dtype == np.uint8
        assert one.overlay.shape == (512, 512, 3)
        assert all(np.isfinite(value) for value in one.details.values())

    def coloured(overlay: NDArray[np.uint8]) -> float:
        """How far magenta and green lie apart."""
        return float(np.abs(overlay[60:-60, 60:-60, 0].astype(int) - overlay[60:-60, 60:-60, 1]).mean())

    assert coloured(stranger.overlay) > 2 * coloured(mate.overlay)
    assert mate.details["blocks_agreeing"] > 0.9 * mate.details["blocks"]
    assert VERIFIER.compare(template(1 - film(1)), enrolled).details["inverted"] == 1


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(np.zeros((300, 300)), id="black"),
        pytest.param(np.full((300, 300), 0.5), id="constant"),
        pytest.param(np.full((300, 300), np.nan), id="no number at all"),
        pytest.param(np.random.default_rng(0).random((8, 8)), id="tiny"),
        pytest.param(np.random.default_rng(0).random((4000, 20)), id="a strip"),
        pytest.param(np.zeros((0, 0)), id="empty"),
    ],
)
def test_nothing_to_compare_is_none(pixels: NDArray[np.float64]) -> None:
    assert VERIFIER.template(loaded(pixels.astype(np.float32))) is None


def test_noise_alone_is_like_nobody(enrolled: Template, worst: float) -> None:
    noise = np.random.default_rng(3).random((400, 400))
    assert VERIFIER.score(template(noise), enrolled) < worst + 0.1
