"""The demonstration: a node of its own, digital phantom patients, orphans, and the truth beside each decision."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from config.errors import CommandError, StorageError
from config.settings import Settings, load_settings
from dicom_node.ledger import DecisionRecord, Ledger, StudyRecord, StudyState
from dicom_node.process import NodeProcess, free_port
from dicom_node.sending import send_files
from inference.types import PatientKey
from training.cohort.demo import DemoStudy, build_demo_cohort

# Calibration and tests draw their persons from other seeds.
DEMO_SEED = 2026
_MARKER = "this-folder-is-a-medreid-demo"
_SETTLE_SECONDS = 240.0


class Advance(Protocol):
    """Moves a progress bar on; ``total`` is told where it was not known at the start."""

    def __call__(self, steps: int, total: int | None = None) -> None: ...


Bar = Callable[[str, int | None], AbstractContextManager[Advance]]


class Verdict(StrEnum):
    """How a decision compares with the truth, in the order in which the sums are printed."""

    RIGHT = "linked right"
    WRONG = "linked wrong"
    REVIEW = "sent to review"
    NOBODY = "rightly nobody"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Row:
    """One orphan: what it was, what was decided, and what is true."""

    study: DemoStudy
    state: StudyState
    decision: DecisionRecord | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class DemoResult:
    folder: Path
    rows: tuple[Row, ...]
    seconds: float
    audit_intact: bool

    def sums(self) -> dict[Verdict, int]:
        return {verdict: sum(row.verdict is verdict for row in self.rows) for verdict in Verdict}


def run_demo(folder: Path, bar: Bar, seed: int = DEMO_SEED) -> DemoResult:
    """Runs the whole story in ``folder`` and ends its node.

    Raises
    ------
    CommandError
        when the folder holds something else, or the node does not come up or does not settle in time.
    """
    started = time.monotonic()
    _fresh(folder)
    with bar("phantoms", None) as advance:
        cohort = build_demo_cohort(folder / "cohort", seed, lambda _, total, __: advance(1, total))
    settings = _settings(folder)
    node = NodeProcess(folder / "site.toml", settings.home, folder / "node.log")
    with node, Ledger.of(settings) as ledger:
        _send("enrolling", cohort.enrolment, settings, bar)
        _settle("encoding", cohort.enrolment, ledger, bar)
        _send("orphans", cohort.orphans, settings, bar)
        _settle("deciding", cohort.orphans, ledger, bar)
        rows = tuple(_row(study, ledger) for study in cohort.orphans)
        intact = _audit_intact(ledger, settings)
    return DemoResult(folder, rows, time.monotonic() - started, intact)


def verdict(truth: PatientKey | None, state: StudyState, linked_to: PatientKey | None) -> Verdict:
    """Compares a settled study with the truth; ``truth`` is None for a patient who is not enrolled."""
    if state is StudyState.LINKED:
        return Verdict.RIGHT if truth is not None and linked_to == truth else Verdict.WRONG
    if state is StudyState.NO_MATCH:
        return Verdict.NOBODY if truth is None else Verdict.MISSED
    return Verdict.REVIEW


def _fresh(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARKER).is_file():
            raise CommandError(f"{folder} is not empty and no demo of ours; choose another with --folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARKER).touch()


def _settings(folder: Path) -> Settings:
    """Defaults, but for free ports, short waits, and trust in calibrations made on phantoms: these are phantoms."""
    site = folder / "site.toml"
    site.write_text(
        "# The demo's differences from config/default.toml.\n"
        f"[dicom]\nport = {free_port(11112)}\n"
        f"[web]\nport = {free_port(8800)}\n"
        "[assembly]\nquiet_seconds = 1.0\n"
        "[archive]\nquiet_seconds = 0.0\n"
        "# Phantoms may be linked by a calibration that was fitted on phantoms. Real patients may not.\n"
        '[calibration]\ntrusted_scopes = ["phantom", "site"]\n'
        # Face and surfaces are two looks, which doubles the least rate that 40 and 148 phantoms can promise: 1 in 20.
        "[policy]\nfpir = 0.05\n"
    )
    return load_settings(site, environment={}, home=folder / "home")


def _send(label: str, studies: Sequence[DemoStudy], settings: Settings, bar: Bar) -> None:
    with bar(label, sum(len(study.files) for study in studies)) as advance:
        for study in studies:
            try:
                send_files(
                    study.files,
                    settings.dicom.host,
                    settings.dicom.port,
                    called_ae=settings.dicom.ae_title,
                    progress=advance,
                )
            except StorageError as error:
                raise CommandError(f"the node refused a study: {error}; see node.log") from None


def _settle(label: str, studies: Sequence[DemoStudy], ledger: Ledger, bar: Bar) -> None:
    deadline = time.monotonic() + _SETTLE_SECONDS
    waiting = {study.study_uid for study in studies}
    with bar(label, len(waiting)) as advance:
        while waiting:
            done = {uid for uid in waiting if (record := ledger.study(uid)) is not None and record.state.settled}
            advance(len(done))
            waiting -= done
            if waiting and time.monotonic() > deadline:
                raise CommandError(f"{len(waiting)} studies were not settled in time; see node.log")
            time.sleep(0.2)


def _row(study: DemoStudy, ledger: Ledger) -> Row:
    record: StudyRecord | None = ledger.study(study.study_uid)
    assert record is not None
    decisions = ledger.decisions(study_uid=study.study_uid, limit=1)
    decision = decisions[0] if decisions else None
    linked_to = decision.patient if decision is not None else None
    return Row(study, record.state, decision, verdict(study.truth, record.state, linked_to))


def _audit_intact(ledger: Ledger, settings: Settings) -> bool:
    from dicom_node.audit import AuditTrail

    return AuditTrail(ledger, settings.audit_head_file).verify().intact
