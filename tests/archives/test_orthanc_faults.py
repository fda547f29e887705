"""Orthanc away, slow, failing, or holding what it should not: nothing is lost, and a second call finishes."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.errors import ArchiveConflictError, ArchiveError, ArchiveUnavailableError, ConfigError, RelinkRefusedError
from dicom_node.archives.elements import parse, pixel_sha256
from dicom_node.archives.identity_edit import identity_of
from dicom_node.archives.orthanc import OrthancArchive
from dicom_node.archives.orthanc_http import OrthancRest
from dicom_node.archives.orthanc_study import MARK, copies
from dicom_node.archives.protocol import RelinkReceipt
from inference.types import PatientIdentity, PatientKey
from tests.archives.contract import Intents, by_uid, headers, news, pixels
from tests.archives.proxy import Call, Proxy, dying, proxy
from tests.archives.studies import TARGET, instance, provenance, uid, with_original_attributes
from tests.peers.orthanc import PASSWORD, USER, Orthanc

pytestmark = pytest.mark.orthanc

FORMER = PatientIdentity(PatientKey("", "UNKNOWN"), "UNKNOWN^MALE")


BOTH = pytest.mark.parametrize("peer", ["keeping", "overwriting"], indirect=True)


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> Orthanc:
    """The Orthanc that overwrites, unless a test asks for both: it is the one that forgives less."""
    running: Orthanc = request.getfixturevalue(f"{getattr(request, 'param', 'overwriting')}_orthanc")
    running.clear()
    return running


@pytest.fixture
def broken(peer: Orthanc) -> Iterator[Proxy]:
    with proxy(peer.http_port) as state:
        yield state


@pytest.fixture
def archive(broken: Proxy, peer: Orthanc) -> Iterator[OrthancArchive]:
    archive = OrthancArchive(OrthancRest(broken.url, USER, str(peer.password_file), 1.0))
    yield archive
    archive.close()


def files(study: str, *, corrected_before: bool = False) -> list[bytes]:
    """Two instances that Orthanc can modify in bulk, or that have to go one by one."""
    return [instance(study, number, edit=with_original_attributes if corrected_before else None) for number in (1, 2)]


def everything(peer: Orthanc, study: str) -> dict[str, set[str]]:
    """Pixel digests by SOP Instance UID over all copies, asked of Orthanc itself."""
    found: dict[str, set[str]] = {}
    for one in peer.studies(study):
        for made in peer.get(f"studies/{one['ID']}/instances"):
            source = parse(peer.file(made["ID"]))
            found.setdefault(source.text(0x00080018), set()).add(pixel_sha256(source))
    return found


def expected(files: list[bytes]) -> dict[str, set[str]]:
    return {parse(data).text(0x00080018): {pixel_sha256(parse(data))} for data in files}


def interrupted_everywhere(
    broken: Proxy,
    peer: Orthanc,
    how: str,
    prepare: Callable[[str], list[bytes]],
    act: Callable[[str], object],
    check: Callable[[str, list[bytes]], None],
) -> int:
    """Lets the archive die at each change in turn; returns at how many points."""
    for point in range(100):
        study = uid("interrupted", how, point)
        broken.heal()
        held = prepare(study)
        broken.calls.clear()
        broken.fault = dying(point, how)
        try:
            act(study)
        except ArchiveUnavailableError:
            assert everything(peer, study) == expected(held)
            broken.heal()
            act(study)
            check(study, held)
            peer.clear()
        else:
            return point
    raise AssertionError("it never came through")


@BOTH
@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize("corrected_before", [False, True], ids=["in bulk", "one by one"])
def test_a_relink_that_is_interrupted_at_any_change_is_finished_by_calling_again(
    archive: OrthancArchive, broken: Proxy, peer: Orthanc, how: str, corrected_before: bool
) -> None:
    def prepare(study: str) -> list[bytes]:
        held = files(study, corrected_before=corrected_before)
        for data in held:
            peer.upload(data)
        return held

    def check(study: str, held: list[bytes]) -> None:
        (one,) = peer.studies(study)
        assert one["PatientMainDicomTags"]["PatientID"] == TARGET.key.id
        assert everything(peer, study) == expected(held)
        assert archive.identity(study) == TARGET
        receipt = archive.relink(study, TARGET, provenance(), Intents())
        archive.undo(receipt)
        assert headers(by_uid(archive, study)) == headers({parse(data).text(0x00080018): data for data in held})

    points = interrupted_everywhere(
        broken, peer, how, prepare, lambda study: archive.relink(study, TARGET, provenance(), Intents()), check
    )
    assert points >= 6


@BOTH
@pytest.mark.parametrize("how", ["before", "after"])
def test_an_undo_that_is_interrupted_at_any_change_is_finished_by_calling_again(
    archive: OrthancArchive, broken: Proxy, peer: Orthanc, how: str
) -> None:
    receipts: dict[str, RelinkReceipt] = {}

    def prepare(study: str) -> list[bytes]:
        held = files(study)
        for data in held:
            peer.upload(data)
        receipts[study] = archive.relink(study, TARGET, provenance(), Intents())
        return held

    def check(study: str, held: list[bytes]) -> None:
        assert len(peer.studies(study)) == 1
        assert headers(by_uid(archive, study)) == headers({parse(data).text(0x00080018): data for data in held})

    assert interrupted_everywhere(broken, peer, how, prepare, lambda study: archive.undo(receipts[study]), check) >= 4


@pytest.mark.parametrize("how", ["before", "after"])
def test_an_interrupted_relink_can_be_undone_instead(
    archive: OrthancArchive, broken: Proxy, peer: Orthanc, how: str
) -> None:
    for point in range(100):
        study = uid("cancelled", how, point)
        broken.heal()
        held = files(study)
        for data in held:
            peer.upload(data)
        intents = Intents()
        broken.fault = dying(point, how)
        try:
            archive.relink(study, TARGET, provenance(), intents)
        except ArchiveUnavailableError:
            broken.heal()
            archive.undo(intents[0])
            assert len(peer.studies(study)) == 1
            assert headers(by_uid(archive, study)) == headers({parse(data).text(0x00080018): data for data in held})
            with pytest.raises(RelinkRefusedError) as caught:
                archive.relink(study, TARGET, provenance(), Intents())
            assert caught.value.reason == "DECISION_UNDONE"
            peer.clear()
        else:
            return


def test_a_sweep_that_is_interrupted_at_any_change_is_finished_by_calling_again(
    archive: OrthancArchive, broken: Proxy, peer: Orthanc
) -> None:
    receipts: dict[str, RelinkReceipt] = {}

    def prepare(study: str) -> list[bytes]:
        held = files(study)
        peer.upload(held[0])
        receipts[study] = archive.relink(study, TARGET, provenance(), Intents())
        peer.upload(held[1])
        return held

    def check(study: str, held: list[bytes]) -> None:
        (one,) = peer.studies(study)
        assert one["PatientMainDicomTags"]["PatientID"] == TARGET.key.id
        archive.undo(receipts[study])
        assert headers(by_uid(archive, study)) == headers({parse(data).text(0x00080018): data for data in held})

    def act(study: str) -> None:
        archive.sweep(receipts[study], Intents())

    assert interrupted_everywhere(broken, peer, "after", prepare, act, check) >= 4


def test_nothing_of_an_interrupted_relink_is_news(archive: OrthancArchive, broken: Proxy, peer: Orthanc) -> None:
    _, cursor = news(archive, "")
    study = uid("half")
    for data in files(study, corrected_before=True):
        peer.upload(data)
    _, cursor = news(archive, cursor)
    broken.calls.clear()
    broken.fault = dying(2, "after")  # the mark, and one of two copies
    with pytest.raises(ArchiveUnavailableError):
        archive.relink(study, TARGET, provenance(), Intents())
    broken.heal()
    assert len(peer.studies(study)) == 2
    told, _ = news(archive, cursor)
    assert told == []


@pytest.mark.parametrize("fault", ["500", "slow", "before"])
def test_an_archive_that_fails_is_tried_again_later(
    archive: OrthancArchive, broken: Proxy, peer: Orthanc, fault: str
) -> None:
    study = uid("failing", fault)
    for data in files(study):
        peer.upload(data)
    broken.fault = lambda call: fault if "modify" in call.path else "pass"
    with pytest.raises(ArchiveUnavailableError):
        archive.relink(study, TARGET, provenance(), Intents())
    assert archive.identity(study) == FORMER


def test_an_archive_that_is_down_says_what_to_check(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        (tmp_path / "password").write_text("secret-word")
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        archive = OrthancArchive(OrthancRest(url, USER, str(tmp_path / "password"), 1.0))
        with pytest.raises(ArchiveUnavailableError, match=r"archive\.url"):
            archive.identity("1.2.3")
        archive.close()


def test_redirects_are_not_followed_and_no_other_host_is_contacted(
    archive: OrthancArchive, broken: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as elsewhere:
        elsewhere.bind(("127.0.0.1", 0))
        elsewhere.listen()
        elsewhere.settimeout(0.3)
        address = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/"
        monkeypatch.setenv("http_proxy", address)
        monkeypatch.setenv("HTTP_PROXY", address)
        broken.redirect_to = address
        broken.fault = lambda call: "redirect"
        with pytest.raises(ArchiveError) as caught:
            archive.identity("1.2.3")
        assert caught.value.reason == "ARCHIVE_REFUSED"
        with pytest.raises(TimeoutError):
            elsewhere.accept()


def test_a_wrong_password_is_named_but_never_shown(
    peer: Orthanc, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "password").write_text("wrong-word")
    with caplog.at_level(logging.DEBUG):
        archive = OrthancArchive(OrthancRest(peer.url, USER, str(tmp_path / "password"), 5.0))
        with pytest.raises(ArchiveError) as caught:
            archive.identity("1.2.3")
        archive.close()
    assert caught.value.reason == "ARCHIVE_DENIED"
    assert "wrong-word" not in caplog.text + str(caught.value)


def test_password_identity_and_uid_are_in_no_address_and_no_log(
    archive: OrthancArchive, broken: Proxy, peer: Orthanc, caplog: pytest.LogCaptureFixture
) -> None:
    study = uid("discreet")
    for data in files(study):
        peer.upload(data)
    with caplog.at_level(logging.DEBUG):
        archive.undo(archive.relink(study, TARGET, provenance(), Intents()))
        list(archive.changes(""))
    told = " ".join(call.path for call in broken.calls) + caplog.text
    for secret in (PASSWORD, study, TARGET.key.id, "PHANTOM", "UNKNOWN"):
        assert secret not in told


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://user:secret@127.0.0.1/", "127.0.0.1:8042", ""])
def test_an_address_that_is_none_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        OrthancRest(url, "", "", 1.0)
    assert "secret" not in str(caught.value)


def test_two_copies_that_nobody_knows_are_left_to_a_person(archive: OrthancArchive, peer: Orthanc) -> None:
    study = uid("two copies")
    peer.upload(instance(study, 1))
    peer.upload(instance(study, 1, patient_id="SOMEBODY"))
    with pytest.raises(ArchiveConflictError) as caught:
        archive.relink(study, TARGET, provenance(), Intents())
    assert caught.value.reason == "TWO_COPIES"
    assert len(peer.studies(study)) == 2


@BOTH
def test_a_copy_that_the_target_already_has_is_not_taken_for_ours(archive: OrthancArchive, peer: Orthanc) -> None:
    study = uid("target has it")
    peer.upload(instance(study, 1))
    peer.upload(instance(study, 1, patient_id=TARGET.key.id, seed=7))
    with pytest.raises(ArchiveConflictError) as caught:
        archive.relink(study, TARGET, provenance(), Intents())
    assert caught.value.reason == "TWO_COPIES"
    assert len(everything(peer, study)[uid(study, "instance", 1)]) == 2


@BOTH
def test_an_instance_that_appears_under_the_target_meanwhile_stops_the_move(
    archive: OrthancArchive, broken: Proxy, peer: Orthanc
) -> None:
    """Another system stores other pixels under the same UIDs after the guards and before the copies."""
    study = uid("meanwhile")
    held = files(study, corrected_before=True)
    for data in held:
        peer.upload(data)
    rival = instance(study, 1, patient_id=TARGET.key.id, seed=9)

    def fault(call: Call) -> str:
        if call.method == "PUT" and not rivals:
            rivals.append(peer.upload(rival)["ID"])
        return "pass"

    rivals: list[str] = []
    broken.fault = fault
    with pytest.raises(ArchiveConflictError) as caught:
        archive.relink(study, TARGET, provenance(), Intents())
    assert caught.value.reason == "OTHER_CONTENT"
    assert peer.file(rivals[0]) == rival
    (former,) = [one for one in copies(archive._rest, study) if one.patient_id == "UNKNOWN"]
    assert former.mark is None
    assert {parse(peer.file(one)).text(0x00080018) for one in former.instances.values()} == set(expected(held))


def test_an_original_that_is_deleted_during_the_move_does_not_take_its_copy_along(
    archive: OrthancArchive, broken: Proxy, peer: Orthanc
) -> None:
    study = uid("vanishing")
    originals = [peer.upload(data)["ID"] for data in files(study, corrected_before=True)]
    copied: list[str] = []

    def fault(call: Call) -> str:
        if call.path == "/instances" and call.method == "POST":
            copied.append(call.path)
        elif copied and originals:  # as a disk that recycles its oldest images would do
            for one in originals:
                peer.delete(f"instances/{one}")
            originals.clear()
        return "pass"

    broken.fault = fault
    with pytest.raises(ArchiveUnavailableError) as caught:
        archive.relink(study, TARGET, provenance(), Intents())
    assert caught.value.reason == "STUDY_CHANGED"
    (left,) = peer.studies(study)
    assert left["PatientMainDicomTags"]["PatientID"] == TARGET.key.id
    assert len(peer.get(f"studies/{left['ID']}/instances")) == 1


def test_undo_without_the_receipt_in_the_archive_goes_by_the_ledgers(archive: OrthancArchive, peer: Orthanc) -> None:
    study = uid("no receipt")
    held = files(study)
    for data in held:
        peer.upload(data)
    receipt = archive.relink(study, TARGET, provenance(), Intents())
    (linked,) = peer.studies(study)
    peer.delete(f"studies/{linked['ID']}/attachments/4172")
    with pytest.raises(ArchiveConflictError) as caught:
        archive.relink(study, TARGET, provenance(), Intents())
    assert caught.value.reason == "RECEIPT_GONE"
    archive.undo(receipt)
    assert headers(by_uid(archive, study)) == headers({parse(data).text(0x00080018): data for data in held})


@BOTH
def test_a_late_duplicate_is_removed_and_a_late_contradiction_is_kept(archive: OrthancArchive, peer: Orthanc) -> None:
    study = uid("late again")
    held = files(study)
    for data in held:
        peer.upload(data)
    intents = Intents()
    receipt = archive.relink(study, TARGET, provenance(), intents)
    peer.upload(held[0])
    peer.upload(instance(study, 2, seed=5))
    with pytest.raises(ArchiveConflictError) as caught:
        archive.sweep(receipt, intents)
    assert caught.value.reason == "LATE_OTHER_CONTENT"
    found = everything(peer, study)
    assert len(found[uid(study, "instance", 1)]) == 1
    assert len(found[uid(study, "instance", 2)]) == 2
    assert sum(len(peer.get(f"studies/{one['ID']}/instances")) for one in peer.studies(study)) == 3


def test_what_arrives_during_a_move_is_neither_moved_nor_lost(
    archive: OrthancArchive, broken: Proxy, peer: Orthanc
) -> None:
    study = uid("during")
    held = files(study)
    for data in held:
        peer.upload(data)
    late: list[str] = []

    def fault(call: Call) -> str:
        if "bulk-delete" in call.path and not late:
            late.append(peer.upload(instance(study, 3))["ID"])
        return "pass"

    broken.fault = fault
    intents = Intents()
    receipt = archive.relink(study, TARGET, provenance(), intents)
    assert peer.file(late[0]) == instance(study, 3)
    assert archive.sweep(receipt, intents) == 1
    archive.undo(intents[-1])
    assert set(by_uid(archive, study)) == {uid(study, "instance", number) for number in (1, 2, 3)}


def test_a_merge_by_somebody_else_is_not_undone_over(archive: OrthancArchive, peer: Orthanc) -> None:
    study = uid("merged")
    for data in files(study):
        peer.upload(data)
    receipt = archive.relink(study, TARGET, provenance(), Intents())
    (linked,) = peer.studies(study)
    body = {
        "Resources": [linked["ID"]],
        "Level": "Patient",
        "Replace": {"PatientID": "MERGED"},
        "Keep": ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"],
        "Force": True,
        "KeepSource": False,
    }
    assert peer.post("tools/bulk-modify", body).ok
    with pytest.raises(ArchiveConflictError) as caught:
        archive.undo(receipt)
    assert caught.value.reason == "CHANGED_SINCE"
    (merged,) = peer.studies(study)
    assert merged["PatientMainDicomTags"]["PatientID"] == "MERGED"


def test_an_instance_that_came_for_the_target_itself_stays_after_undo(archive: OrthancArchive, peer: Orthanc) -> None:
    study = uid("came right")
    for data in files(study):
        peer.upload(data)
    receipt = archive.relink(study, TARGET, provenance(), Intents())
    right = instance(study, 3, patient_id=TARGET.key.id)
    peer.upload(right)
    archive.undo(receipt)
    found = {one.patient_id: one for one in copies(archive._rest, study)}
    assert found.keys() == {"UNKNOWN", TARGET.key.id}
    assert found[TARGET.key.id].mark is None
    assert [peer.file(one) for one in found[TARGET.key.id].instances.values()] == [right]


@pytest.mark.parametrize(
    ("edit", "reason"), [("19991231", "TARGET_DEMOGRAPHICS"), ("HOSPITAL B", "TARGET_ISSUER")], ids=["birth", "issuer"]
)
def test_a_target_that_is_somebody_else_in_the_archive_is_refused(
    archive: OrthancArchive, peer: Orthanc, edit: str, reason: str
) -> None:
    study, other = uid("guard", reason), uid("guard other", reason)

    def somebody(ds: object) -> None:
        setattr(ds, "PatientBirthDate" if reason == "TARGET_DEMOGRAPHICS" else "IssuerOfPatientID", edit)

    peer.upload(instance(study, 1))
    peer.upload(instance(other, 1, patient_id=TARGET.key.id, edit=somebody))
    with pytest.raises(RelinkRefusedError) as caught:
        archive.relink(study, TARGET, provenance(), Intents())
    assert caught.value.reason == reason
    assert archive.identity(study) == FORMER


def test_a_study_that_still_grows_is_left_for_later(broken: Proxy, peer: Orthanc) -> None:
    study = uid("growing")
    peer.upload(instance(study, 1))
    archive = OrthancArchive(OrthancRest(broken.url, USER, str(peer.password_file), 5.0), quiet_seconds=3600)
    with pytest.raises(ArchiveUnavailableError) as caught:
        archive.relink(study, TARGET, provenance(), Intents())
    assert caught.value.reason == "STUDY_NOT_QUIET"
    archive.close()


def test_what_users_hung_on_the_study_goes_with_it_and_back(archive: OrthancArchive, peer: Orthanc) -> None:
    study = uid("annotated")
    for data in files(study):
        peer.upload(data)

    def annotations() -> list[bytes]:
        (one,) = peer.studies(study)
        series = one["Series"][0]
        paths = (f"studies/{one['ID']}/metadata/2000", f"studies/{one['ID']}/attachments/2001/data")
        paths += (f"series/{series}/metadata/2002",)
        return [peer.http.get(peer.url + path, timeout=5).content for path in paths]

    (one,) = peer.studies(study)
    for path in (f"studies/{one['ID']}/metadata/2000", f"studies/{one['ID']}/attachments/2001"):
        peer.http.put(peer.url + path, data=b"a note", timeout=5).raise_for_status()
    peer.http.put(f"{peer.url}series/{one['Series'][0]}/metadata/2002", data=b"a note", timeout=5).raise_for_status()
    receipt = archive.relink(study, TARGET, provenance(), Intents())
    assert annotations() == [b"a note"] * 3
    archive.undo(receipt)
    assert annotations() == [b"a note"] * 3


def test_a_plain_study_is_modified_by_orthanc_in_one_job(archive: OrthancArchive, broken: Proxy, peer: Orthanc) -> None:
    study = uid("bulk")
    for data in files(study):
        peer.upload(data)
    archive.relink(study, TARGET, provenance(), Intents())
    assert not [call for call in broken.calls if call.method == "POST" and call.path == "/instances"]
    assert {identity_of(parse(data)) for data in archive.fetch(study)} == {TARGET}
    assert pixels(by_uid(archive, study)) == {
        one: digests.copy().pop() for one, digests in everything(peer, study).items()
    }


def test_a_mark_of_somebody_else_is_not_overwritten(archive: OrthancArchive, peer: Orthanc) -> None:
    study = uid("foreign mark")
    stored = peer.upload(instance(study, 1))
    path = f"{peer.url}studies/{stored['ParentStudy']}/metadata/{MARK}"
    peer.http.put(path, data=b"theirs", timeout=5).raise_for_status()
    with pytest.raises(ArchiveConflictError) as caught:
        archive.relink(study, TARGET, provenance(), Intents())
    assert caught.value.reason == "MARK"
    assert peer.http.get(path, timeout=5).content == b"theirs"
