"""What decisions promise, on phantoms that nothing was fitted on, in a gallery several times that of the fit.

``python -m training.studies.decisions`` measures the same on some thousand searches and narrows the bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from inference.encoders.registry import Registry
from inference.gallery.protocol import GalleryEntry
from inference.types import PatientKey
from training.recipes.phantoms import CALIBRATION_SEED, DECISIONS_SEED
from training.studies.decisions import Study, divided, measure, phantoms

DIMENSION = 48


def people(seed: int, persons: int, spread: float = 0.16, likeness: float = 0.35) -> list[GalleryEntry]:
    """Two studies each of people who share a common look by different shares: some resemble everybody."""
    rng = np.random.default_rng(seed)
    common = np.ones(DIMENSION) / math.sqrt(DIMENSION)
    found = []
    for number in range(persons):
        own = rng.normal(size=DIMENSION)
        centre = own / np.linalg.norm(own) + rng.normal(0.8, likeness) * common
        for study in range(2):
            vector = centre + rng.normal(0, spread, DIMENSION)
            found.append(
                GalleryEntry(
                    len(found),
                    PatientKey(f"S{seed}", f"{number:05d}"),
                    f"{seed}.{number}.{study}",
                    (vector / np.linalg.norm(vector)).astype(np.float32),
                    modality="DX",
                    view="FRONTAL",
                )
            )
    return found


def check(study: Study, slack: float) -> None:
    """Bounds that hold for the promise itself but for chance: ``slack`` is in standard errors over persons."""
    assert study.cllr - study.min_cllr < 0.05
    for figures in study.figures:
        seen, _ = figures.fpir[0.01]
        # Probes of one person go together, so persons are counted.
        error = math.sqrt(0.01 * 0.99 / study.persons + 0.01 * 0.99 / study.fit_persons)
        assert 0.005 - slack * error <= seen <= 0.02 + slack * error
        # LRs that data bound cannot outweigh a far larger gallery: nobody gets too much there, never too little.
        too_much = 0.06 if figures is study.figures[0] else 0.15
        for prior, (nobody, _) in figures.nobody.items():
            assert -0.06 <= nobody - (1 - prior) <= too_much


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.1, 0.2])
def test_promises_hold_for_other_people_in_a_gallery_ten_times_larger(
    spread: float, report: Callable[[str], None]
) -> None:
    """2,000 non-mated searches; embeddings made from numbers, so that strong, middling and weak encoders are tried."""
    study = measure(people(1, 400, spread), people(2, 1000, spread), 100)
    for figures in study.figures:
        report(f"spread {spread}, {figures.gallery} patients: FPIR {figures.fpir[0.01]}, FNIR {figures.fnir[0.01]}")
    assert {figures.gallery for figures in study.figures} == {100, 999}
    check(study, slack=1.0)


def test_halves_judge_each_other_in_a_gallery_ten_times_larger() -> None:
    entries = people(3, 500)
    first, again, second = (divided(entries, seed) for seed in (0, 0, 1))
    assert (first.fit_persons, first.persons, first.fit_gallery) == (250, 250, 25)
    assert {figures.gallery for figures in first.figures} == {25, 249}
    assert first == again != second
    error = math.sqrt(0.05 * 0.95 * (1 / first.persons + 1 / first.fit_persons))
    assert all(abs(figures.fpir[0.05][0] - 0.05) <= 3 * error for figures in first.figures)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_promises_hold_on_small_chest_films(report: Callable[[str], None]) -> None:
    """Few films, as each costs some tenths of a second: gross errors of the whole chain would show."""
    encoder = Registry(device="cpu").get("general")
    fit = list(phantoms(encoder, "chest-film", CALIBRATION_SEED, 50))
    study = measure(fit, list(phantoms(encoder, "chest-film", DECISIONS_SEED, 40)), 25)
    report(f"general on small films: Cllr {study.cllr:.3f} (min {study.min_cllr:.3f}), {study.figures[-1].fpir[0.05]}")
    assert study.cllr - study.min_cllr < 0.1
    error = math.sqrt(0.05 * 0.95 * (1 / study.persons + 1 / study.fit_persons))
    for figures in study.figures:
        assert figures.fpir[0.05][0] <= 0.05 + 3 * error
        assert figures.nobody[0.5][0] == pytest.approx(0.5, abs=0.1)
