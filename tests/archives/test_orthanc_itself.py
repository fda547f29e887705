"""What a real Orthanc does when it is asked plainly, and that the node's procedure does not suffer from it.

Orthanc 1.10.1 (Debian 12) is the oldest one that is supported. Where a later one answers otherwise the test says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pydicom
import pytest
import requests
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, StudyRootQueryRetrieveInformationModelFind

from config.errors import ArchiveConflictError, RelinkRefusedError
from dicom_node.archives.elements import parse, pixel_sha256
from dicom_node.archives.orthanc import OrthancArchive
from dicom_node.archives.orthanc_http import OrthancRest
from tests.archives.contract import Intents, by_uid, news, pixels
from tests.archives.studies import TARGET, instance, provenance, uid
from tests.peers.orthanc import USER, Orthanc

pytestmark = pytest.mark.orthanc

# From 1.11.3 on Orthanc lets a study be given another patient, and checks more of what it is asked.
NEWER = (1, 11, 3)
KEEP = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
REPLACE = {"PatientID": TARGET.key.id, "PatientName": TARGET.name}


@pytest.fixture
def archive(peer: Orthanc) -> Iterator[OrthancArchive]:
    archive = OrthancArchive(OrthancRest(peer.url, USER, str(peer.password_file), 20.0))
    yield archive
    archive.close()


@pytest.fixture
def keeping(peer: Orthanc) -> bool:
    """Whether this Orthanc keeps the first instance (OverwriteInstances=false)."""
    import json

    return json.loads((peer.folder / "orthanc.json").read_text())["OverwriteInstances"] is False


def loaded(peer: Orthanc, study: str, count: int = 2, patient_id: str | None = "UNKNOWN") -> str:
    for number in range(1, count + 1):
        stored = peer.upload(instance(study, number, patient_id=patient_id))
    return str(stored["ParentStudy"])


def ask(peer: Orthanc, path: str, **changes: Any) -> requests.Response:
    """A modification, synchronous so that its status is the call's."""
    body = {"Replace": REPLACE, "Keep": KEEP, "Force": True, "Synchronous": True}
    return peer.post(path, {**body, **changes})


def bulk(peer: Orthanc, study: str, **changes: Any) -> requests.Response:
    return ask(peer, "tools/bulk-modify", Resources=[study], Level="Patient", **changes)


def instances(peer: Orthanc, study: str) -> list[str]:
    return [one["ID"] for held in peer.studies(study) for one in peer.get(f"studies/{held['ID']}/instances")]


@pytest.mark.parametrize("keep", [KEEP, []])
def test_a_b_a_study_cannot_be_given_another_patient_by_modifying_the_study(peer: Orthanc, keep: list[str]) -> None:
    study = uid("AB", keep)
    orthanc_id = loaded(peer, study)
    answer = ask(peer, f"studies/{orthanc_id}/modify", Keep=keep)
    assert answer.status_code == (400 if peer.version < NEWER else 200)
    assert len(instances(peer, study)) == (4 if keep and peer.version >= NEWER else 2)


def test_c_modifying_the_patient_moves_strangers_too(peer: Orthanc, archive: OrthancArchive, keeping: bool) -> None:
    study, stranger = uid("C"), uid("C stranger")
    loaded(peer, study)
    loaded(peer, stranger)
    (held,) = peer.studies(study)
    answer = ask(peer, f"patients/{held['ParentPatient']}/modify", KeepSource=False)
    assert answer.status_code == 200
    (moved,) = peer.studies(stranger)
    assert moved["PatientMainDicomTags"]["PatientID"] == TARGET.key.id  # the disaster

    peer.clear()
    loaded(peer, study)
    loaded(peer, stranger)
    archive.relink(study, TARGET, provenance(), Intents())
    (left,) = peer.studies(stranger)
    assert left["PatientMainDicomTags"]["PatientID"] == "UNKNOWN"


def test_d_a_bulk_modification_at_patient_level_moves_one_study_and_keeps_uids_and_pixels(peer: Orthanc) -> None:
    study, stranger = uid("D"), uid("D stranger")
    orthanc_id = loaded(peer, study)
    loaded(peer, stranger)
    before = {
        parse(peer.file(one)).text(0x00080018): pixel_sha256(parse(peer.file(one))) for one in instances(peer, study)
    }
    assert bulk(peer, orthanc_id, KeepSource=False).status_code == 200
    (held,) = peer.studies(study)
    assert held["PatientMainDicomTags"]["PatientID"] == TARGET.key.id
    after = {
        parse(peer.file(one)).text(0x00080018): pixel_sha256(parse(peer.file(one))) for one in instances(peer, study)
    }
    assert after == before
    (left,) = peer.studies(stranger)
    assert left["PatientMainDicomTags"]["PatientID"] == "UNKNOWN"
    ds = pydicom.dcmread(BytesIO(peer.file(instances(peer, study)[0])))
    assert "OriginalAttributesSequence" not in ds  # Orthanc writes none of its own


def test_d2_d3_a_bulk_modification_is_not_idempotent(peer: Orthanc, archive: OrthancArchive, keeping: bool) -> None:
    study = uid("D3")
    orthanc_id = loaded(peer, study)
    if peer.version < NEWER:
        assert ask(peer, "tools/bulk-modify", Resources=[orthanc_id], Level="Instance").status_code == 400
    assert bulk(peer, orthanc_id, KeepSource=True).status_code == 200
    again = bulk(peer, orthanc_id, KeepSource=True)
    assert again.status_code == (500 if keeping and peer.version < NEWER else 200)

    peer.clear()
    loaded(peer, study)
    first = archive.relink(study, TARGET, provenance(), Intents())
    assert archive.relink(study, TARGET, provenance(), Intents()) == first
    assert len(instances(peer, study)) == 2


def test_1_without_keep_source_the_original_is_gone_before_anybody_has_looked(
    peer: Orthanc, archive: OrthancArchive
) -> None:
    study = uid("1")
    orthanc_id = loaded(peer, study)
    assert bulk(peer, orthanc_id, KeepSource=False).status_code == 200
    assert orthanc_id not in [held["ID"] for held in peer.studies(study)]

    peer.clear()
    loaded(peer, study)
    held_at_intent: list[int] = []
    archive.relink(study, TARGET, provenance(), lambda receipt: held_at_intent.append(len(instances(peer, study))))
    assert held_at_intent == [2]


def test_2_replacing_an_identifier_by_itself_can_destroy_the_study(
    peer: Orthanc, archive: OrthancArchive, keeping: bool
) -> None:
    study = uid("2")
    orthanc_id = loaded(peer, study, patient_id=TARGET.key.id)
    answer = bulk(peer, orthanc_id, KeepSource=False)
    survives = keeping and peer.version < NEWER
    # The data are destroyed: by 1.10 where it overwrites, by 1.12.7 whatever the setting.
    assert (answer.status_code, len(instances(peer, study))) == ((500, 2) if survives else (200, 0))

    peer.clear()
    loaded(peer, study, patient_id=TARGET.key.id)
    with pytest.raises(RelinkRefusedError) as caught:
        archive.relink(study, TARGET, provenance(), Intents())
    assert caught.value.reason == "SAME_PATIENT_ID"
    assert len(instances(peer, study)) == 2


def test_2b_modifying_a_study_with_all_uids_kept_can_destroy_it(peer: Orthanc, keeping: bool) -> None:
    study = uid("2b")
    orthanc_id = loaded(peer, study)
    body = {"Replace": {"StudyDescription": "X"}, "Keep": KEEP, "Force": True, "KeepSource": False}
    answer = peer.post(f"studies/{orthanc_id}/modify", body)
    expected = (400, 2) if peer.version >= NEWER else (500, 2) if keeping else (200, 0)
    assert (answer.status_code, len(instances(peer, study))) == expected


def test_3_an_edited_copy_is_stored_beside_and_a_repeat_says_already_stored(peer: Orthanc, keeping: bool) -> None:
    study = uid("3")
    loaded(peer, study, count=1)
    copy = instance(study, 1, patient_id=TARGET.key.id)
    assert peer.upload(copy)["Status"] == "Success"
    assert peer.upload(copy)["Status"] == ("AlreadyStored" if keeping else "Success")
    assert len(peer.studies(study)) == 2


def test_3c_d_e_two_copies_confuse_everybody_and_none_are_left(peer: Orthanc, archive: OrthancArchive) -> None:
    study = uid("3c")
    loaded(peer, study, count=1)
    peer.upload(instance(study, 1, patient_id=TARGET.key.id))
    web = f"{peer.url}dicom-web/studies"
    assert len(c_find(peer, study)) == 2
    assert len(peer.http.get(web, params={"StudyInstanceUID": study}, timeout=10).json()) == 2
    assert peer.http.get(f"{web}/{study}/metadata", timeout=10).status_code == 404

    peer.clear()
    loaded(peer, study, count=1)
    archive.relink(study, TARGET, provenance(), Intents())
    assert c_find(peer, study) == [TARGET.key.id]
    assert peer.http.get(f"{web}/{study}/metadata", timeout=10).status_code == 200


def c_find(peer: Orthanc, study: str) -> list[str]:
    """Patient IDs of the studies that answer to this Study Instance UID."""
    node = AE("MEDREID")
    node.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    query = pydicom.Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID, query.PatientID = "STUDY", study, ""
    association = node.associate("127.0.0.1", peer.dicom_port, ae_title="ORTHANC")
    assert association.is_established
    found = [
        str(identifier.PatientID)
        for _, identifier in association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind)
        if identifier is not None
    ]
    association.release()
    return found


def test_4_other_pixels_under_a_known_uid_are_dropped_or_silently_taken(peer: Orthanc, keeping: bool) -> None:
    study = uid("4")
    first, second = instance(study, 1), instance(study, 1, seed=1)
    peer.upload(first)
    assert peer.upload(second)["Status"] == ("AlreadyStored" if keeping else "Success")
    node = AE("MEDREID")
    node.add_requested_context(CTImageStorage)
    association = node.associate("127.0.0.1", peer.dicom_port, ae_title="ORTHANC")
    assert association.send_c_store(pydicom.dcmread(BytesIO(second))).Status == 0x0000  # Success either way
    association.release()
    (held,) = instances(peer, study)
    assert pixel_sha256(parse(peer.file(held))) == pixel_sha256(parse(first if keeping else second))


def test_4_such_an_instance_under_the_target_is_noticed_before_anything_is_deleted(
    peer: Orthanc, archive: OrthancArchive
) -> None:
    study = uid("4 noticed")
    loaded(peer, study, count=1)
    peer.upload(instance(study, 1, patient_id=TARGET.key.id, seed=1))
    with pytest.raises(ArchiveConflictError):
        archive.relink(study, TARGET, provenance(), Intents())
    assert len(instances(peer, study)) == 2


def test_5_what_counts_as_the_same_patient(peer: Orthanc) -> None:
    def patient(patient_id: str | None) -> str:
        study = uid("5", patient_id)
        return str(peer.upload(instance(study, 1, patient_id=patient_id))["ParentPatient"])

    assert patient(None) == patient("") == patient(" ") == "da39a3ee-5e6b4b0d-3255bfef-95601890-afd80709"
    assert patient("UNKNOWN") != patient("unknown")
    assert patient("00123") != patient("123")
    assert patient("123 ") == patient("123")


def test_5_studies_without_an_identifier_are_one_patient_and_are_not_moved_together(
    peer: Orthanc, archive: OrthancArchive
) -> None:
    study, stranger = uid("5 nobody"), uid("5 somebody")
    loaded(peer, study, patient_id=None)
    loaded(peer, stranger, patient_id="")
    assert peer.studies(study)[0]["ParentPatient"] == peer.studies(stranger)[0]["ParentPatient"]
    before = by_uid(archive, stranger)
    archive.undo(archive.relink(study, TARGET, provenance(), Intents()))
    assert by_uid(archive, stranger) == before


def test_late_a_slice_after_the_move_makes_the_orphan_anew(peer: Orthanc, archive: OrthancArchive) -> None:
    study = uid("late")
    loaded(peer, study)
    intents = Intents()
    receipt = archive.relink(study, TARGET, provenance(), intents)
    peer.upload(instance(study, 3))
    assert len(peer.studies(study)) == 2
    assert archive.sweep(receipt, intents) == 1
    (held,) = peer.studies(study)
    assert held["PatientMainDicomTags"]["PatientID"] == TARGET.key.id
    assert pixels(by_uid(archive, study)) == intents[-1].instances


def test_events_a_move_is_announced_as_a_new_study_and_is_no_news(peer: Orthanc, archive: OrthancArchive) -> None:
    study = uid("events")
    loaded(peer, study)
    _, cursor = news(archive, "")
    archive.relink(study, TARGET, provenance(), Intents())
    (held,) = peer.studies(study)
    told = peer.get(f"changes?since={cursor}&limit=500")["Changes"]
    assert {"NewInstance", "NewStudy"} <= {change["ChangeType"] for change in told}
    for _ in range(100):  # StableAge is one second here
        if peer.get(f"studies/{held['ID']}")["IsStable"]:
            break
        time.sleep(0.1)
    told = peer.get(f"changes?since={cursor}&limit=500")["Changes"]
    assert ("StableStudy", held["ID"]) in {(change["ChangeType"], change["ID"]) for change in told}
    assert news(archive, cursor)[0] == []


def test_events_the_filter_of_the_feed_is_ignored(peer: Orthanc) -> None:
    loaded(peer, uid("filter"))
    last = peer.get("changes?last")["Last"]
    told = peer.get(f"changes?since={last - 4}&limit=100&type=StableStudy")["Changes"]
    assert {change["ChangeType"] for change in told} != {"StableStudy"}  # from 1.12.5 on it is obeyed


def test_labels_are_unknown_and_do_no_harm(peer: Orthanc, archive: OrthancArchive) -> None:
    study = uid("labels")
    orthanc_id = loaded(peer, study)
    known = bool(peer.get("system").get("HasLabels"))
    assert peer.http.get(f"{peer.url}studies/{orthanc_id}/labels", timeout=5).ok == known
    archive.relink(study, TARGET, provenance(), Intents())
