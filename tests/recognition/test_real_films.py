"""Real radiographs, wrapped as DICOM: how much is recognised, and that nobody is ever linked wrongly.

Zero wrong links is easy for one who never links, so the report prints what was right and what stayed unlinked too.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from config.settings import Settings
from inference.calibration import Calibration
from inference.encoders.protocol import Encoder
from inference.encoders.registry import Registry
from inference.types import Encoding
from tests.conftest import test_data_folder
from tests.recognition.real_films import Film, Tally, Trial, encode_films, entries_of, plan_trial, run_trial
from training.calibrate import calibrate_from_embeddings

PLANS = {
    "paediatric_cxr": {"mated": 100, "distractors": 100, "strangers": 50, "calibration": 130},
    "adult_cxr_64px": {"mated": 50, "distractors": 40, "strangers": 40, "calibration": 80},
}
Case = tuple[str, Trial, dict[Film, Encoding], Encoder, Calibration | None, Calibration]

pytestmark = [pytest.mark.data, pytest.mark.slow]


@pytest.fixture(scope="module", params=list(PLANS))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    registry = Registry(device="cpu", batch_size=16)
    encoder = registry.get("general")
    trial = plan_trial(test_data_folder(), request.param, **PLANS[request.param])
    films = (*trial.enrolled, *trial.orphans, *trial.strangers, *trial.calibration)
    encodings = encode_films(films, encoder, tmp_path_factory.mktemp("films"))
    site, _ = calibrate_from_embeddings(
        entries_of(trial.calibration, encodings),
        encoder=encoder.name,
        version=encoder.version,
        scope="site",
        fitted_on="real films of patients who take no part in the trial",
    )
    return request.param, trial, encodings, encoder, registry.calibration("general"), site


def show(report: Callable[[str], None], title: str, trial: Trial, tally: Tally) -> None:
    low, high = tally.rank1_interval
    counts = ", ".join(f"{name} {count}" for name, count in sorted(tally.counts.items()))
    report(
        f"{title}: {len(trial.orphans)} orphans, {len(trial.strangers)} strangers, {len(trial.enrolled)} enrolled; "
        f"rank-1 {tally.rank1:.3f} [{low:.3f}, {high:.3f}] (95 % over persons), pixels {tally.pixel_rank1:.3f}, "
        f"chance {tally.chance:.3f}; linked right {tally['linked right']}, "
        f"linked wrong {tally['linked wrong']}; {counts}"
    )


def test_persons_of_calibration_and_trial_are_disjoint(case: Case) -> None:
    trial = case[1]
    tested = {film.patient for film in (*trial.enrolled, *trial.orphans, *trial.strangers)}
    assert tested.isdisjoint(film.patient for film in trial.calibration)
    assert {film.patient for film in trial.orphans} <= {film.patient for film in trial.enrolled}
    assert {film.patient for film in trial.strangers}.isdisjoint(film.patient for film in trial.enrolled)
    assert {film.study_uid for film in trial.orphans}.isdisjoint(film.study_uid for film in trial.enrolled)


def test_without_a_sites_own_calibration_nothing_is_linked(
    case: Case, settings: Settings, report: Callable[[str], None]
) -> None:
    name, trial, encodings, encoder, shipped, _ = case
    tally = run_trial(trial, encodings, encoder, shipped, settings)
    show(report, f"{name}, calibration as shipped", trial, tally)
    assert tally["linked right"] == tally["linked wrong"] == 0


def test_after_a_sites_calibration_no_link_is_wrong(
    case: Case, settings: Settings, report: Callable[[str], None]
) -> None:
    name, trial, encodings, encoder, _, site = case
    tally = run_trial(trial, encodings, encoder, site, settings)
    show(report, f"{name}, calibrated on other patients of the site", trial, tally)
    assert tally["linked wrong"] == 0
    assert sum(tally.counts.values()) == len(trial.orphans) + len(trial.strangers)
    assert tally.rank1_interval[0] > 5 * tally.chance
    assert tally.rank1 > tally.pixel_rank1
