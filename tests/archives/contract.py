"""What every archive has to do: one suite, run against each twin. A subclass says how to get one."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from config.errors import ArchiveConflictError, ArchiveError, RelinkRefusedError
from dicom_node.archives.elements import encode, parse, pixel_sha256, splice
from dicom_node.archives.identity_edit import identity_of
from dicom_node.archives.protocol import PASSED, Archive, RelinkReceipt
from inference.types import PatientIdentity, PatientKey
from tests.archives.studies import (
    OTHER_TARGET,
    TARGET,
    instance,
    provenance,
    uid,
    varied_study,
    with_original_attributes,
    with_other_ids,
)


class Intents(list[RelinkReceipt]):
    """An intent sink that remembers."""

    def __call__(self, receipt: RelinkReceipt) -> None:
        self.append(RelinkReceipt.from_json(receipt.to_json()))


def by_uid(archive: Archive, study: str) -> dict[str, bytes]:
    return {parse(data).text(0x00080018): data for data in archive.fetch(study)}


def pixels(files: dict[str, bytes]) -> dict[str, str]:
    return {uid: pixel_sha256(parse(data)) for uid, data in files.items()}


def headers(files: dict[str, bytes]) -> dict[str, Dataset]:
    """Data sets without group lengths, so that two encodings of one content are equal."""
    return {uid: pydicom.dcmread(BytesIO(data)) for uid, data in files.items()}


def news(archive: Archive, since: str) -> tuple[list[str], str]:
    """Study UIDs that the feed tells of, and the cursor after them."""
    events = list(archive.changes(since))
    told = [event.study_uid for event in events if event.kind != PASSED]
    return told, events[-1].cursor if events else since


class ArchiveContract:
    @pytest.fixture
    def archive(self) -> Archive:
        raise NotImplementedError

    @pytest.fixture
    def study(self, request: pytest.FixtureRequest) -> str:
        """A Study Instance UID of this test's own."""
        return uid(request.node.nodeid)

    def put(self, archive: Archive, folder: Path, study: str, files: list[bytes]) -> int:
        paths = []
        for number, data in enumerate(files):
            path = folder / f"{len(list(folder.iterdir()))}-{number}.dcm"
            path.write_bytes(data)
            paths.append(path)
        return archive.store(study, paths)

    def test_what_the_node_added_can_be_removed_again(self, archive: Archive, study: str, tmp_path: Path) -> None:
        files = [instance(study, number) for number in (1, 2, 3)]
        self.put(archive, tmp_path, study, files)
        second = uid(study, "instance", 2)
        assert archive.remove(study, {second, uid(study, "instance", 9)}) == 1
        assert sorted(archive.fetch(study)) == sorted([files[0], files[2]])
        assert second not in archive.sop_instance_uids(study)
        assert archive.remove(study, {second}) == 0
        assert archive.remove(uid(study, "unknown"), {second}) == 0
        assert self.put(archive, tmp_path, study, files) == 1

    def test_what_is_stored_can_be_fetched(self, archive: Archive, study: str, tmp_path: Path) -> None:
        files = [instance(study, number) for number in (1, 2)]
        assert self.put(archive, tmp_path, study, files) == 2
        assert sorted(archive.fetch(study)) == sorted(files)
        assert set(archive.sop_instance_uids(study)) == {uid(study, "instance", number) for number in (1, 2)}
        assert archive.identity(study) == PatientIdentity(PatientKey("", "UNKNOWN"), "UNKNOWN^MALE")
        assert self.put(archive, tmp_path, study, files) == 0
        assert list(archive.fetch(study, without=archive.sop_instance_uids(study))) == []

    def test_an_unknown_study_is_empty_and_cannot_be_linked(self, archive: Archive, study: str) -> None:
        assert list(archive.fetch(study)) == []
        assert archive.sop_instance_uids(study) == ()
        assert archive.identity(study) is None
        with pytest.raises(ArchiveConflictError) as caught:
            archive.relink(study, TARGET, provenance(), Intents())
        assert caught.value.reason == "UNKNOWN_STUDY"

    def test_an_instance_of_another_study_is_refused(self, archive: Archive, study: str, tmp_path: Path) -> None:
        with pytest.raises(ArchiveConflictError) as caught:
            self.put(archive, tmp_path, study, [instance(uid("another"), 1)])
        assert caught.value.reason == "OTHER_STUDY"

    def test_a_relink_keeps_uids_and_pixels_and_writes_the_target(
        self, archive: Archive, study: str, tmp_path: Path
    ) -> None:
        self.put(archive, tmp_path, study, varied_study(study))
        before = by_uid(archive, study)
        intents = Intents()
        receipt = archive.relink(study, TARGET, provenance(), intents)
        after = by_uid(archive, study)
        assert pixels(after) == pixels(before) == receipt.instances
        assert archive.identity(study) == TARGET
        assert {identity_of(parse(data)) for data in after.values()} == {TARGET}
        assert intents == [receipt]
        for sop, ds in headers(after).items():
            old = headers(before)[sop]
            assert (ds.StudyInstanceUID, ds.SeriesInstanceUID) == (old.StudyInstanceUID, old.SeriesInstanceUID)
            assert ds.file_meta.TransferSyntaxUID == old.file_meta.TransferSyntaxUID
            assert len(ds.OriginalAttributesSequence) == len(old.get("OriginalAttributesSequence", [])) + 1
            assert ds[0x0029, 0x1003].value == old[0x0029, 0x1003].value

    def test_a_plain_study_is_moved_the_same_way(self, archive: Archive, study: str, tmp_path: Path) -> None:
        self.put(archive, tmp_path, study, [instance(study, number) for number in (1, 2, 3)])
        before = by_uid(archive, study)
        archive.relink(study, TARGET, provenance(), Intents())
        after = headers(by_uid(archive, study))
        assert pixels(by_uid(archive, study)) == pixels(before)
        (item,) = after[uid(study, "instance", 2)].OriginalAttributesSequence
        assert item.ModifiedAttributesSequence[0].PatientID == "UNKNOWN"
        assert item.ModifyingSystem == "MEDREID test node"

    def test_undo_restores_the_former_identity_and_every_byte_of_the_pixels(
        self, archive: Archive, study: str, tmp_path: Path
    ) -> None:
        self.put(archive, tmp_path, study, varied_study(study))
        before = by_uid(archive, study)
        receipt = archive.relink(study, TARGET, provenance(), Intents())
        archive.undo(RelinkReceipt.from_json(receipt.to_json()))
        after = by_uid(archive, study)
        assert pixels(after) == pixels(before)
        assert headers(after) == headers(before)
        assert archive.identity(study) == PatientIdentity(PatientKey("", "UNKNOWN"), "UNKNOWN^MALE")
        archive.undo(receipt)
        assert by_uid(archive, study) == after

    @pytest.mark.parametrize("patient_id", [None, "", " "])
    def test_undo_knows_absent_from_empty(
        self, archive: Archive, study: str, tmp_path: Path, patient_id: str | None
    ) -> None:
        self.put(archive, tmp_path, study, [instance(study, 1, patient_id=patient_id)])
        before = by_uid(archive, study)
        assert archive.identity(study) is None
        receipt = archive.relink(study, TARGET, provenance(), Intents())
        assert archive.identity(study) == TARGET
        archive.undo(receipt)
        assert headers(by_uid(archive, study)) == headers(before)

    def test_the_same_relink_twice_changes_nothing(self, archive: Archive, study: str, tmp_path: Path) -> None:
        self.put(archive, tmp_path, study, [instance(study, 1)])
        intents = Intents()
        first = archive.relink(study, TARGET, provenance(), intents)
        files = by_uid(archive, study)
        assert archive.relink(study, TARGET, provenance(), intents) == first
        assert by_uid(archive, study) == files
        assert len(intents) == 1

    def test_a_relink_onto_the_same_identifier_is_refused(self, archive: Archive, study: str, tmp_path: Path) -> None:
        self.put(archive, tmp_path, study, [instance(study, 1, patient_id=TARGET.key.id)])
        files = by_uid(archive, study)
        with pytest.raises(RelinkRefusedError) as caught:
            archive.relink(study, TARGET, provenance(), Intents())
        assert caught.value.reason == "SAME_PATIENT_ID"
        assert by_uid(archive, study) == files

    def test_another_decision_does_not_go_over_a_link(self, archive: Archive, study: str, tmp_path: Path) -> None:
        self.put(archive, tmp_path, study, [instance(study, 1)])
        receipt = archive.relink(study, TARGET, provenance(), Intents())
        with pytest.raises(RelinkRefusedError) as caught:
            archive.relink(study, OTHER_TARGET, provenance("decision-2"), Intents())
        assert caught.value.reason == "ALREADY_LINKED"
        archive.undo(receipt)
        with pytest.raises(RelinkRefusedError) as caught:
            archive.relink(study, TARGET, provenance(), Intents())
        assert caught.value.reason == "DECISION_UNDONE"
        archive.relink(study, OTHER_TARGET, provenance("decision-2"), Intents())
        assert archive.identity(study) == OTHER_TARGET

    def test_a_target_that_dicom_cannot_carry_is_refused(self, archive: Archive, study: str, tmp_path: Path) -> None:
        self.put(archive, tmp_path, study, [instance(study, 1)])
        with pytest.raises(RelinkRefusedError):
            archive.relink(study, PatientIdentity(PatientKey("", "A\\B")), provenance(), Intents())
        assert archive.identity(study) == PatientIdentity(PatientKey("", "UNKNOWN"), "UNKNOWN^MALE")

    def test_a_stranger_under_the_same_placeholder_is_left_alone(
        self, archive: Archive, study: str, tmp_path: Path
    ) -> None:
        stranger = uid(study, "stranger")
        self.put(archive, tmp_path, study, [instance(study, 1)])
        self.put(archive, tmp_path, stranger, [instance(stranger, 1)])
        files = by_uid(archive, stranger)
        receipt = archive.relink(study, TARGET, provenance(), Intents())
        assert by_uid(archive, stranger) == files
        archive.undo(receipt)
        assert by_uid(archive, stranger) == files

    def test_other_studies_of_the_target_are_left_alone(self, archive: Archive, study: str, tmp_path: Path) -> None:
        own = uid(study, "own")

        def enrolled(ds: Dataset) -> None:
            ds.IssuerOfPatientID = TARGET.key.issuer
            ds.PatientName, ds.PatientBirthDate, ds.PatientSex = TARGET.name, TARGET.birth_date, TARGET.sex

        self.put(archive, tmp_path, own, [instance(own, 1, patient_id=TARGET.key.id, edit=enrolled)])
        self.put(archive, tmp_path, study, [instance(study, 1)])
        files = by_uid(archive, own)
        receipt = archive.relink(study, TARGET, provenance(), Intents())
        archive.undo(receipt)
        assert by_uid(archive, own) == files

    def test_a_late_slice_is_swept_and_undone_with_the_rest(self, archive: Archive, study: str, tmp_path: Path) -> None:
        files = [instance(study, 1), instance(study, 2, edit=with_other_ids)]
        self.put(archive, tmp_path, study, files[:1])
        intents = Intents()
        receipt = archive.relink(study, TARGET, provenance(), intents)
        assert archive.sweep(receipt, intents) == 0
        self.put(archive, tmp_path, study, files[1:])
        assert archive.identity(study) == TARGET
        assert archive.sweep(receipt, intents) == 1
        assert archive.sweep(receipt, intents) == 0
        assert {identity_of(parse(data)) for data in archive.fetch(study)} == {TARGET}
        assert len(intents) == 2
        assert set(intents[1].instances) == set(archive.sop_instance_uids(study))
        archive.undo(intents[1])
        assert headers(by_uid(archive, study)) == headers({parse(data).text(0x00080018): data for data in files})

    def test_the_feed_tells_of_studies_but_not_of_our_own_moves(
        self, archive: Archive, study: str, tmp_path: Path
    ) -> None:
        _, cursor = news(archive, "")
        self.put(archive, tmp_path, study, [instance(study, 1)])
        told, cursor = news(archive, cursor)
        assert set(told) == {study}
        receipt = archive.relink(study, TARGET, provenance(), Intents())
        told, cursor = news(archive, cursor)
        assert told == []
        archive.undo(receipt)
        told, cursor = news(archive, cursor)
        assert told == []
        self.put(archive, tmp_path, study, [instance(study, 2)])
        told, cursor = news(archive, cursor)
        assert set(told) == {study}

    def test_a_cursor_that_is_none_is_refused(self, archive: Archive) -> None:
        with pytest.raises(ArchiveError):
            list(archive.changes("../../etc/passwd"))

    def test_hostile_uids_stay_data(self, archive: Archive, tmp_path: Path) -> None:
        hostile = "../../../../tmp/evil"
        source = parse(instance(uid("hostile"), 1))
        evil = splice(source, {0x0020000D: encode(0x0020000D, "UI", hostile.encode(), source.syntax)})
        assert self.put(archive, tmp_path, hostile, [evil]) == 1
        assert len(archive.sop_instance_uids(hostile)) == 1
        archive.relink(hostile, TARGET, provenance(), Intents())
        assert archive.identity(hostile) == TARGET

    def test_a_study_that_was_corrected_before_can_be_linked_and_undone(
        self, archive: Archive, study: str, tmp_path: Path
    ) -> None:
        self.put(archive, tmp_path, study, [instance(study, 1, edit=with_original_attributes)])
        before = by_uid(archive, study)
        receipt = archive.relink(study, TARGET, provenance(), Intents())
        (ds,) = headers(by_uid(archive, study)).values()
        assert [item.ModifyingSystem for item in ds.OriginalAttributesSequence] == ["A ROUTER", "MEDREID test node"]
        archive.undo(receipt)
        assert headers(by_uid(archive, study)) == headers(before)
