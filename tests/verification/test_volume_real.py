"""Real scans, moved by a known motion and scanned anew: it is found again, and nobody else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference.types import LoadedSeries
from inference.verification.protocol import Template
from inference.verification.volume import VolumeVerifier
from tests.conftest import test_data_folder
from tests.imaging.test_real_data import load_folder, only, write_coarse_head
from tests.verification.volumes import apart, moved, phantom_head
from training.cohort import person, visit
from training.cohort.head_mr import head_mr

pytestmark = pytest.mark.data
VERIFIER = VolumeVerifier()


def template(volume: LoadedSeries) -> Template:
    made = VERIFIER.template(volume)
    assert made is not None
    return made


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedSeries]:
    folder: Path = test_data_folder()
    return {
        "chest CT": load_folder(folder / "dicom" / "ct_chest").images[0],
        "head MR": load_folder(folder / "dicom" / "mr_head_with_face", "SLICE_INCREMENT_INCONSISTENT").images[0],
        "coarse head CT": only(write_coarse_head(folder, tmp_path_factory.mktemp("coarse"))),
    }


@pytest.mark.parametrize("name", ["chest CT", "head MR", "coarse head CT"])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"degrees": (9.0, -7.0, 12.0), "spacing": (3.0, 1.5, 1.5), "noise": 12.0}, id="turned and thick"),
        pytest.param({"degrees": (5.0, 5.0, -5.0), "keep": (0.4, 1.0)}, id="the lower part missing"),
    ],
)
def test_a_known_motion_of_a_real_scan_is_found(
    scans: dict[str, LoadedSeries], name: str, change: dict[str, tuple[float, float, float]]
) -> None:
    again, truth = moved(scans[name], **change)
    found = VERIFIER.compare(template(again), template(scans[name]))
    millimetres, degrees = apart(found.transform, truth, again)
    assert millimetres < 1.0
    assert degrees < 1.0
    assert found.score > 0.45


def test_a_real_scan_is_nobody_else(scans: dict[str, LoadedSeries]) -> None:
    from tests.verification.volumes import SEED, series

    chest, head, mr = (template(scans[name]) for name in ("chest CT", "coarse head CT", "head MR"))
    phantom = template(phantom_head(1))
    pixels, affine = head_mr(person(SEED, 1), visit(person(SEED, 1), 0))
    phantom_mr = template(series(pixels.astype(np.float32), affine, "MR"))
    assert VERIFIER.score(chest, head) < 0.3
    assert VERIFIER.score(chest, phantom) < 0.3
    assert VERIFIER.score(head, phantom) < 0.3
    assert VERIFIER.score(mr, phantom_mr) < 0.3
    assert VERIFIER.score(mr, head) == 0.0
