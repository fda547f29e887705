"""A node beside a real Orthanc: it follows the change feed and takes what is sent, links there, and hears no echo."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from dicom_node.cli.app import command_line
from dicom_node.ledger import Ledger, StudyState
from dicom_node.process import NodeProcess
from tests.node.conftest import in_state, settled, wait_for
from tests.node.films import known, study_uid, write_film
from tests.peers.orthanc import Orthanc, orthanc, settings_of

pytestmark = pytest.mark.orthanc


def command(node: NodeProcess, peer: Orthanc, *arguments: str) -> int:
    environment = {"MEDREID_HOME": str(node.home), **settings_of(peer)}
    done = CliRunner().invoke(command_line(), ["--config", str(node.site), *arguments], env=environment)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code


def identities(peer: Orthanc, uid: str) -> list[str]:
    return [study["PatientMainDicomTags"].get("PatientID", "") for study in peer.studies(uid)]


def test_followed_sent_linked_late_and_undone(
    node_process: Callable[..., NodeProcess], site: Path, tmp_path: Path
) -> None:
    port = next(int(line.split("=")[1]) for line in site.read_text().splitlines() if line.startswith("port"))
    modalities = {"medreid": ["MEDREID", "127.0.0.1", port]}
    os.environ.setdefault("TCP_NODELAY", "1")
    with orthanc(tmp_path / "orthanc", DicomModalities=modalities) as peer:
        node = node_process(environment=settings_of(peer) | {"MEDREID_ARCHIVE__POLL_SECONDS": "0.3"})
        node.start()
        with Ledger.of(node.settings) as ledger:
            for person in range(3):
                for visit in range(2):
                    peer.upload(write_film(tmp_path / "known", person, visit, known(person)).read_bytes())
            for person in range(3):
                for visit in range(2):
                    assert settled(ledger, study_uid(person, visit)).state is StudyState.ENROLLED

            uid = study_uid(1, 5)
            orphan = peer.upload(write_film(tmp_path / "orphan", 1, 5, "UNKNOWN").read_bytes())
            assert settled(ledger, uid).state is StudyState.REVIEW
            # The same study once more, the other way: Orthanc as a sender.
            sent = peer.post("modalities/medreid/store", {"Resources": [orphan["ParentStudy"]], "Synchronous": True})
            assert sent.json()["FailedInstancesCount"] == 0
            assert not ledger.conflicts()

            assert command(node, peer, "approve", uid) == 0
            assert identities(peer, uid) == [known(1)]
            (moved,) = peer.studies(uid)
            corrected = peer.file(peer.get(f"studies/{moved['ID']}/instances")[0]["ID"])
            (tmp_path / "corrected.dcm").write_bytes(corrected)
            assert dcmread(tmp_path / "corrected.dcm").OriginalAttributesSequence[0].ModifyingSystem == "MedReID"
            peer.post("modalities/medreid/store", {"Resources": [moved["ID"]], "Synchronous": True})
            wait_for(lambda: ledger.counters("ingest_echo"))
            assert not ledger.conflicts(), "the node's own re-link is no news when it is forwarded"

            # A late slice under the old identity makes the orphan study anew; the decision is applied to it as well.
            peer.upload(write_film(tmp_path / "late", 1, 5, "UNKNOWN", number=2).read_bytes())
            wait_for(
                lambda: identities(peer, uid) == [known(1)] and len(peer.get(f"studies/{moved['ID']}/instances")) == 2
            )
            in_state(ledger, uid, StudyState.LINKED)
            assert ledger.study(uid).instances == 2

            assert command(node, peer, "undo", uid) == 0
            assert identities(peer, uid) == ["UNKNOWN"]
            assert ledger.study(uid).state is StudyState.REVIEW
            assert {study["PatientMainDicomTags"]["PatientID"] for study in map(peer.get, _studies(peer))} == {
                *map(known, range(3)),
                "UNKNOWN",
            }


def test_evidence_is_stored_after_a_link_and_goes_when_it_is_undone(
    node_process: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    with orthanc(tmp_path / "orthanc") as peer:
        asked = {"MEDREID_ARCHIVE__POLL_SECONDS": "0.3", "MEDREID_EVIDENCE__OBJECTS": "true"}
        node = node_process(environment=settings_of(peer) | asked)
        node.start()
        with Ledger.of(node.settings) as ledger:
            for person in range(3):
                peer.upload(write_film(tmp_path / "known", person, 0, known(person)).read_bytes())
            for person in range(3):
                assert settled(ledger, study_uid(person, 0)).state is StudyState.ENROLLED
            uid = study_uid(1, 5)
            peer.upload(write_film(tmp_path / "orphan", 1, 5, "UNKNOWN").read_bytes())
            assert settled(ledger, uid).state is StudyState.REVIEW
            assert modalities(peer, uid) == ["CR"], "nothing is added before a link"

            os.environ["MEDREID_EVIDENCE__OBJECTS"] = "true"
            try:
                assert command(node, peer, "approve", uid) == 0
                assert identities(peer, uid) == [known(1)]
                assert modalities(peer, uid) == ["CR", "OT", "SR"]
                report = next(ds for ds in objects(peer, uid) if ds.Modality == "SR")
                assert report.PatientID == known(1)
                assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
                said = [element.value for element in report.iterall() if element.keyword == "TextValue"]
                assert {"general", "radiograph"} <= {text.partition(" ")[0].partition(":")[0] for text in said}
                assert not any(known(person) in str(report) for person in (0, 2)), "no other candidate is named"

                # The archive's feed tells of the new objects; to the node they are no news.
                peer.upload(write_film(tmp_path / "last", 2, 7, known(2)).read_bytes())
                assert settled(ledger, study_uid(2, 7)).state is StudyState.ENROLLED
                assert ledger.study(uid).state is StudyState.LINKED
                assert ledger.study(uid).instances == 1
                assert len(ledger.embeddings_of_study(uid)) == 1

                assert command(node, peer, "undo", uid) == 0
            finally:
                del os.environ["MEDREID_EVIDENCE__OBJECTS"]
            assert identities(peer, uid) == ["UNKNOWN"]
            assert modalities(peer, uid) == ["CR"]


def objects(peer: Orthanc, uid: str) -> list[Dataset]:
    """Every object of a study as the archive has it, without pixels."""
    instances = [one for study in peer.studies(uid) for one in peer.get(f"studies/{study['ID']}/instances")]
    return [dcmread(BytesIO(peer.file(one["ID"])), stop_before_pixels=True) for one in instances]


def modalities(peer: Orthanc, uid: str) -> list[str]:
    return sorted(ds.Modality for ds in objects(peer, uid))


def _studies(peer: Orthanc) -> list[str]:
    return [f"studies/{one}" for one in peer.get("studies")]


def test_an_orthanc_that_is_away_is_waited_for_and_nothing_is_lost(
    node_process: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    folder = tmp_path / "orthanc"
    with orthanc(folder) as peer:
        away = settings_of(peer) | {"MEDREID_ARCHIVE__POLL_SECONDS": "0.3"}
        ports = peer.http_port, peer.dicom_port
    node = node_process(environment=away)
    node.start()
    with Ledger.of(node.settings) as ledger:
        wait_for(lambda: [c for c in ledger.counters("follow_failed") if c.value])
        with orthanc(folder, ports=ports) as peer:
            peer.upload(write_film(tmp_path / "known", 1, 0, known(1)).read_bytes())
            assert settled(ledger, study_uid(1, 0)).state is StudyState.ENROLLED
