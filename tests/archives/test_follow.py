"""Following a real Orthanc's change feed into a real ledger and spool, and acting on what came."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.errors import ArchiveUnavailableError, RelinkRefusedError
from config.settings import load_settings
from dicom_node.archives import follow
from dicom_node.archives.follow import FollowReport, follow_once
from dicom_node.archives.orthanc import OrthancArchive
from dicom_node.archives.orthanc_http import OrthancRest
from dicom_node.ledger import DecisionRecord, NewDecision, Outcome, RelinkState, StudyState
from dicom_node.node import Node
from tests.archives.proxy import proxy
from tests.archives.studies import TARGET, instance, uid
from tests.peers.orthanc import USER, Orthanc, settings_of

pytestmark = pytest.mark.orthanc


@pytest.fixture
def node(keeping_orthanc: Orthanc, tmp_path: Path) -> Iterator[Node]:
    keeping_orthanc.clear()
    environment = {**settings_of(keeping_orthanc), "MEDREID_SPOOL__MIN_FREE_BYTES": "1048576"}
    settings = load_settings(environment=environment, home=tmp_path / "home")
    with Node(settings) as node:
        follow_once(node)  # what other tests left in the feed is gone, and is passed
        yield node


def instances(node: Node, study: str) -> set[str]:
    return {one.sop_instance_uid for series in node.ledger.series(study, node.spool.path) for one in series.instances}


def decision(node: Node, study: str) -> DecisionRecord:
    return node.ledger.record_decision(
        NewDecision(study, 1, Outcome.LINK, "test", "hash", TARGET.key, 0.99, 0.0, 5.0, 3.0, (), {}, ())
    )


def test_what_the_archive_got_comes_into_the_node_once(node: Node, keeping_orthanc: Orthanc) -> None:
    study = uid("follow")
    for number in (1, 2):
        keeping_orthanc.upload(instance(study, number))
    assert follow_once(node) == FollowReport(1, 2)
    assert instances(node, study) == {uid(study, "instance", number) for number in (1, 2)}
    stored = node.ledger.study(study)
    assert stored is not None and stored.state is StudyState.ASSEMBLING
    assert follow_once(node).instances == 0


def test_only_the_rest_of_a_growing_study_is_fetched(node: Node, keeping_orthanc: Orthanc) -> None:
    study = uid("growing")
    keeping_orthanc.upload(instance(study, 1))
    assert follow_once(node).instances == 1
    keeping_orthanc.upload(instance(study, 2))
    assert follow_once(node).instances == 1
    assert node.ledger.conflicts() == ()


def test_a_kill_before_the_cursor_moved_repeats_and_loses_nothing(
    node: Node, keeping_orthanc: Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = uid("killed")
    keeping_orthanc.upload(instance(study, 1))

    def die(point: str) -> None:
        raise KeyboardInterrupt(point)

    before = node.ledger.cursor("archive:orthanc")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(follow, "crash_point", die)
        follow_once(node)
    assert node.ledger.cursor("archive:orthanc") == before
    assert follow_once(node) == FollowReport(1, 0)
    assert instances(node, study) == {uid(study, "instance", 1)}


def test_an_archive_that_dies_in_between_is_followed_from_there(node: Node, keeping_orthanc: Orthanc) -> None:
    study = uid("dies")
    for number in (1, 2):
        keeping_orthanc.upload(instance(study, number))
    with proxy(keeping_orthanc.http_port) as broken:
        rest = OrthancRest(broken.url, USER, str(keeping_orthanc.password_file), 1.0)
        node.archive = OrthancArchive(rest)
        broken.fault = lambda call: "before" if call.path.endswith("/file") else "pass"
        with pytest.raises(ArchiveUnavailableError):
            follow_once(node)
        broken.heal()
        assert follow_once(node).instances == 2
        rest.close()


def test_studies_deleted_in_between_are_passed(node: Node, keeping_orthanc: Orthanc) -> None:
    gone, kept = uid("gone"), uid("kept")
    keeping_orthanc.upload(instance(gone, 1))
    keeping_orthanc.clear()
    keeping_orthanc.upload(instance(kept, 1))
    assert follow_once(node) == FollowReport(1, 1)
    assert instances(node, gone) == set()


def test_a_study_the_archive_is_in_two_minds_about_does_not_hold_up_others(
    node: Node, keeping_orthanc: Orthanc
) -> None:
    study, other = uid("two series"), uid("fine")

    def other_series(ds: object) -> None:
        ds.SeriesInstanceUID = uid(study, "other series")  # type: ignore[attr-defined]

    keeping_orthanc.upload(instance(study, 1))
    keeping_orthanc.upload(instance(study, 1, edit=other_series))
    keeping_orthanc.upload(instance(other, 1))
    assert follow_once(node).instances == 1
    assert instances(node, other) == {uid(other, "instance", 1)}
    (counted,) = node.ledger.counters("follow_refused")
    assert counted.labels == {"reason": "DUPLICATE_SOP_INSTANCE"}


def test_our_own_moves_do_not_come_back_and_late_slices_do(node: Node, keeping_orthanc: Orthanc) -> None:
    study = uid("moved")
    keeping_orthanc.upload(instance(study, 1))
    follow_once(node)
    record = decision(node, study)
    node.relinker.link(record, TARGET, "test")
    assert follow_once(node) == FollowReport(0, 0)
    keeping_orthanc.upload(instance(study, 2))
    assert follow_once(node) == FollowReport(1, 1)
    assert instances(node, study) == {uid(study, "instance", number) for number in (1, 2)}
    (relink,) = node.ledger.relinks(study_uid=study)
    assert node.relinker.sweep(relink, "test") == 1
    (relink,) = node.ledger.relinks(study_uid=study)
    node.relinker.undo(relink, "test")
    assert follow_once(node) == FollowReport(0, 0)
    (former,) = keeping_orthanc.studies(study)
    assert former["PatientMainDicomTags"]["PatientID"] == "UNKNOWN"
    assert len(keeping_orthanc.get(f"studies/{former['ID']}/instances")) == 2
    assert node.ledger.conflicts() == ()


def test_what_comes_again_for_a_linked_study_has_it_walked_again(node: Node, keeping_orthanc: Orthanc) -> None:
    study = uid("again")
    keeping_orthanc.upload(instance(study, 1))
    follow_once(node)
    node.relinker.link(decision(node, study), TARGET, "test")
    node.ledger.promote_complete(0.0, 0.0)
    claim = node.ledger.claim_study(study, "test", 60.0)
    assert claim is not None
    node.ledger.settle(claim, StudyState.LINKED)
    keeping_orthanc.upload(instance(study, 1))
    assert len(keeping_orthanc.studies(study)) == 2
    assert follow_once(node) == FollowReport(1, 0)
    queued = node.ledger.study(study)
    assert queued is not None and queued.state is StudyState.READY
    (relink,) = node.ledger.relinks(study_uid=study)
    node.relinker.sweep(relink, "test")
    (held,) = keeping_orthanc.studies(study)
    assert held["PatientMainDicomTags"]["PatientID"] == TARGET.key.id


def test_a_refused_move_is_over_and_another_decision_may_follow(node: Node, keeping_orthanc: Orthanc) -> None:
    study = uid("refused")
    keeping_orthanc.upload(instance(study, 1))
    follow_once(node)
    first = decision(node, study)
    node.relinker.link(first, TARGET, "test")
    (relink,) = node.ledger.relinks(study_uid=study)
    node.relinker.undo(relink, "test")
    with pytest.raises(RelinkRefusedError):
        node.relinker.link(first, TARGET, "test")
    assert [one.state for one in node.ledger.relinks(study_uid=study)] != [RelinkState.INTENDED]
    node.relinker.link(decision(node, study), TARGET, "test")
    (held,) = keeping_orthanc.studies(study)
    assert held["PatientMainDicomTags"]["PatientID"] == TARGET.key.id
