"""Real radiographs: what geometry adds to the embedding that nominates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inference.encoders.registry import Registry
from inference.imaging.headers import read_header
from inference.imaging.series import load_series
from inference.types import LoadedSeries, SeriesHeader
from inference.verification.radiograph import RadiographVerifier
from tests.conftest import test_data_folder
from tests.recognition.real_films import Film, plan_trial, write_cr
from training.evaluation.metrics import person_bootstrap

PLANS = {
    "paediatric_cxr": {"mated": 30, "distractors": 30, "strangers": 0, "calibration": 0},
    "adult_cxr_64px": {"mated": 30, "distractors": 30, "strangers": 0, "calibration": 0},
}
NOMINATED = 15

pytestmark = [pytest.mark.data, pytest.mark.slow]


def load_film(film: Film, folder: Path) -> LoadedSeries:
    header = read_header(write_cr(film, folder, None))
    (image,) = load_series(SeriesHeader(header.study_uid, header.series_uid, (header,))).images
    return image


@pytest.mark.parametrize("collection", PLANS)
def test_the_verifier_lifts_mates_among_the_nominated(
    collection: str, tmp_path: Path, report: Callable[[str], None]
) -> None:
    trial = plan_trial(test_data_folder(), collection, **PLANS[collection])
    encoder, verifier = Registry(device="cpu", batch_size=16).get("general"), RadiographVerifier()
    images = {film: load_film(film, tmp_path) for film in (*trial.enrolled, *trial.orphans)}
    found = encoder.encode(list(images.values()))
    vectors = {film: item.vector for film, item in zip(images, found, strict=True) if item is not None}
    templates = {film: verifier.template(image) for film, image in images.items()}
    assert sum(template is None for template in templates.values()) == 0
    gallery = np.stack([vectors[film] for film in trial.enrolled])
    before, after = [], []
    for orphan in trial.orphans:
        nominated = np.argsort(-(gallery @ vectors[orphan]), kind="stable")[:NOMINATED]
        scores = [verifier.score(templates[orphan], templates[trial.enrolled[i]]) for i in nominated]  # type: ignore[arg-type]
        before.append(trial.enrolled[nominated[0]].patient == orphan.patient)
        after.append(trial.enrolled[nominated[int(np.argmax(scores))]].patient == orphan.patient)
    persons = [film.patient for film in trial.orphans]
    low, high = person_bootstrap(persons, after)
    report(
        f"{collection}: {len(before)} orphans among {len(trial.enrolled)} enrolled; rank-1 by embedding alone "
        f"{np.mean(before):.3f}, re-ranked by the radiograph verifier {np.mean(after):.3f} [{low:.3f}, {high:.3f}]"
    )
    assert np.mean(after) > np.mean(before) + 0.05
