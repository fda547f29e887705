"""A node that its site has calibrated: it links by itself, wrongly never, and a kill anywhere changes nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from config.settings import Settings, load_settings
from dicom_node.archives.local import LocalArchive
from dicom_node.ledger import DecisionStatus, Ledger, RelinkState, StudyState
from inference.types import PatientKey
from tests.node.films import ISSUER, known, study_uid, write_film

pytestmark = pytest.mark.timeout(900)

# What so few patients can say of each other does not satisfy the default policy, and must not: this site is bolder.
ENROLLED = 60
POLICY = {
    "MEDREID_POLICY__NAME": "bold-1",
    "MEDREID_POLICY__LINK_LOG10_LR": "1.5",
    "MEDREID_POLICY__LINK_MARGIN_LOG10": "1.5",
    "MEDREID_POLICY__LINK_POSTERIOR": "0.6",
    "MEDREID_POLICY__FPIR": "0.03",
}
ORPHANS = range(0, 24)
STRANGERS = range(500, 524)


def medreid(home: Path, *arguments: str, crash_point: str = "") -> int:
    """Runs the command in a process of its own; returns its exit status."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDREID_")}
    environment |= POLICY | {"MEDREID_HOME": str(home), "MEDREID_ARCHIVE__QUIET_SECONDS": "0"}
    # A killed process leaves its lease and its association behind; the next one waits for them to run out.
    environment |= {"MEDREID_WORKER__LEASE_SECONDS": "3", "MEDREID_ASSEMBLY__STALE_SECONDS": "0.01"}
    environment |= {"MEDREID_CRASH_POINT": crash_point} if crash_point else {}
    command = [sys.executable, "-m", "dicom_node.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


def settings_of(home: Path) -> Settings:
    return load_settings(environment={}, home=home)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a node with 60 patients, two studies each, and its site's own calibration."""
    folder = tmp_path_factory.mktemp("calibrated")
    for person in range(ENROLLED):
        for visit in range(2):
            write_film(folder / "known", person, visit, known(person))
    assert medreid(folder / "home", "enrol", str(folder / "known"), "--walk") == 0
    assert medreid(folder / "home", "calibrate", "--encoder", "general") == 0
    return folder / "home"


@pytest.fixture
def home(calibrated: Path, tmp_path: Path) -> Path:
    """A copy of that home for one test; objects never change, so they are shared."""

    def copy(source: str, target: str) -> None:
        (os.link if source.endswith(".dcm") else shutil.copy2)(source, target)

    return Path(shutil.copytree(calibrated, tmp_path / "home", copy_function=copy))


@pytest.mark.slow
def test_a_site_that_calibrated_gets_links_and_none_of_them_is_wrong(
    home: Path, tmp_path: Path, report: Callable[[str], None]
) -> None:
    for person in ORPHANS:
        write_film(tmp_path / "orphans", person, 5, ["", None, "UNKNOWN", "0000"][person % 4])
    for person in STRANGERS:
        write_film(tmp_path / "orphans", person, 5, None)
    assert medreid(home, "enrol", str(tmp_path / "orphans"), "--walk") == 0
    counted: Counter[str] = Counter()
    with Ledger.of(settings_of(home)) as ledger:
        for person in (*ORPHANS, *STRANGERS):
            record = ledger.study(study_uid(person, 5))
            decision = ledger.decisions(study_uid=study_uid(person, 5))[0]
            truth = PatientKey(ISSUER, known(person)) if person in ORPHANS else None
            linked = record.state is StudyState.LINKED
            counted[
                ("right" if decision.patient == truth else "wrong")
                if linked
                else f"{record.state.value} of " + ("the enrolled" if truth else "strangers")
            ] += 1
    report(f"patterns, bold policy: {dict(counted)} of {len(ORPHANS)} orphans and {len(STRANGERS)} strangers")
    assert counted["wrong"] == 0
    assert counted["right"] > len(ORPHANS) // 2, f"zero wrong links are easy for a node that never links: {counted}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "crash_point",
    [
        "ingest.headers_read",
        "ingest.before_commit",
        "ingest.committed",
        "walk.stored",
        "walk.decided",
        "relink.intended",
        "relink.archived",
        "walk.linked",
    ],
)
def test_killed_at_any_step_the_study_goes_on_where_it_stood(home: Path, tmp_path: Path, crash_point: str) -> None:
    orphan = write_film(tmp_path / "orphan", 3, 6, None)
    assert medreid(home, "enrol", str(orphan), "--walk", crash_point=crash_point) == -signal.SIGKILL
    # The second time the file is known already, or new again; either way it is there once.
    assert medreid(home, "enrol", str(orphan), "--walk") == 0
    uid = study_uid(3, 6)
    with Ledger.of(settings_of(home)) as ledger:
        assert ledger.study(uid).state is StudyState.LINKED
        assert [r.state for r in ledger.relinks(study_uid=uid)] == [RelinkState.DONE]
        assert not ledger.decisions(study_uid=uid, status=DecisionStatus.PENDING), "the link was acted on"
        assert ledger.object_count() == 2 * ENROLLED + 1
        linked = [row for row in ledger.audit_entries() if row.action == "LINK"]
        assert len(linked) == 1, "one link has one audit row"
    archive = LocalArchive(settings_of(home).archive_folder)
    assert len(archive.sop_instance_uids(uid)) == 1
    assert archive.identity(uid).key == PatientKey(ISSUER, known(3))
