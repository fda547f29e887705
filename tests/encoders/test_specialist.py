"""The published answer of the specialists: three patients, probabilities, and a rejection below 0.75."""

from __future__ import annotations

import numpy as np
import pytest

from config.errors import GalleryError
from inference.encoders.specialist import THRESHOLD, Specialist
from inference.gallery.protocol import GalleryEntry
from inference.types import FloatArray, PatientKey

DIMENSION = 32


def patient(n: int) -> PatientKey:
    return PatientKey("TEST", f"{n:04d}")


def people(count: int, visits: range, noise: float = 0.4, first: int = 0) -> list[GalleryEntry]:
    """Unit vectors around each person's own; ``noise`` is their spread over the length of that."""
    found = []
    for n in range(first, first + count):
        own = np.random.default_rng([1, n]).standard_normal(DIMENSION)
        for visit in visits:
            seen = own + noise * np.random.default_rng([2, n, visit]).standard_normal(DIMENSION)
            vector = (seen / np.linalg.norm(seen)).astype(np.float32)
            found.append(GalleryEntry(1000 * n + visit, patient(n), f"1.{n}.{visit}", vector))
    return found


def vectors(entries: list[GalleryEntry]) -> FloatArray:
    return np.stack([entry.vector for entry in entries])


@pytest.fixture(scope="module")
def specialist() -> Specialist:
    return Specialist(people(30, range(3)))


def test_the_enrolled_are_named_and_strangers_rejected_more_often() -> None:
    specialist = Specialist(people(30, range(3), 0.8))
    probes = people(30, range(5, 6), 0.8)
    answers = specialist.answers(vectors(probes), [one.study_uid for one in probes])
    named = [answer.top[0][0] == one.patient for answer, one in zip(answers, probes, strict=True)]
    assert np.mean(named) > 0.9
    rejected = np.mean([answer.rejected for answer in answers])
    strangers = people(60, range(1), 0.8, first=500)
    refused = np.mean([answer.rejected for answer in specialist.answers(vectors(strangers), [""] * 60)])
    assert rejected < 0.1
    assert refused > rejected + 0.2


def test_an_answer_is_three_patients_in_order_and_probabilities(specialist: Specialist) -> None:
    probes = vectors(people(30, range(5, 6)))
    everybody = specialist.probabilities(probes)
    np.testing.assert_allclose(everybody.sum(axis=1), 1.0)
    for row, answer in zip(everybody, specialist.answers(probes, [""] * 30), strict=True):
        found = [probability for _, probability in answer.top]
        assert len(answer.top) == 3
        assert found == sorted(row, reverse=True)[:3]
        assert answer.rejected == (found[0] < THRESHOLD)


def test_the_scale_that_is_fitted_makes_probabilities_mean_something() -> None:
    """Over probes of unseen visits the mean probability of the best is about how often the best is right."""
    for noise in (0.6, 1.0, 1.4):
        one = Specialist(people(60, range(4), noise))
        probes = people(60, range(9, 13), noise)
        answers = one.answers(vectors(probes), [""] * len(probes))
        right = np.mean([a.top[0][0] == probe.patient for a, probe in zip(answers, probes, strict=True)])
        assert np.mean([a.top[0][1] for a in answers]) == pytest.approx(right, abs=0.12)


def test_noisier_embeddings_get_a_smaller_scale() -> None:
    scales = [Specialist(people(40, range(3), noise)).scale for noise in (0.9, 1.4, 2.0)]
    assert scales == sorted(scales, reverse=True)
    assert Specialist(people(4, range(1)), scale=10.0).scale == 10.0


def test_two_patients_have_an_answer_of_two() -> None:
    answers = Specialist(people(2, range(2))).answers(vectors(people(1, range(5, 6))), [""])
    assert len(answers[0].top) == 2


def test_a_probe_of_an_enrolled_study_is_refused(specialist: Specialist) -> None:
    enrolled = people(1, range(1))
    with pytest.raises(GalleryError) as caught:
        specialist.answers(vectors(enrolled), [enrolled[0].study_uid])
    assert caught.value.reason == "SAME_STUDY"


@pytest.mark.parametrize(
    ("entries", "reason"),
    [([], "EMPTY"), (people(1, range(3)), "EMPTY"), (people(5, range(1)), "NO_SECOND_STUDY")],
)
def test_too_little_to_classify_is_named(entries: list[GalleryEntry], reason: str) -> None:
    with pytest.raises(GalleryError) as caught:
        Specialist(entries)
    assert caught.value.reason == reason
