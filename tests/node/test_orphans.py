from __future__ import annotations

import pytest

from config.errors import ConfigError
from config.settings import Settings
from dicom_node.ledger import ReceivedIdentity
from dicom_node.orphans import OrphanAssessment, OrphanDetector, OrphanReason
from inference.types import PatientKey


class Shared:
    """Statistics in which every identifier was used by the same number of people."""

    def __init__(self, persons: int = 1) -> None:
        self.count = persons

    def persons(self, key: PatientKey) -> int:
        return self.count


@pytest.fixture
def detector(settings: Settings) -> OrphanDetector:
    return OrphanDetector(settings.orphans, settings.identity)


def identity(patient_id: str = "4711", **values: str) -> ReceivedIdentity:
    return ReceivedIdentity(**({"patient_id": patient_id, "name": "PHANTOM^0001", "birth_date": "19700101"} | values))


def assess(detector: OrphanDetector, *identities: ReceivedIdentity, persons: int = 1) -> OrphanAssessment:
    return detector.assess(identities, Shared(persons))


@pytest.mark.parametrize("patient_id", ["4711", "00123", "A-17", "2024-0815", "TESTA", "X17", "P-123"])
def test_a_usable_identity_is_no_orphan(detector: OrphanDetector, patient_id: str) -> None:
    assessment = assess(detector, identity(patient_id, issuer="SITE"))
    assert assessment == OrphanAssessment(is_orphan=False, key=PatientKey("SITE", patient_id))


@pytest.mark.parametrize(
    ("patient_id", "reason"),
    [
        ("", OrphanReason.ID_BLANK),
        ("    ", OrphanReason.ID_BLANK),
        ("\0", OrphanReason.ID_BLANK),
        ("^^^SITE", OrphanReason.ID_BLANK),
        ("UNKNOWN", OrphanReason.ID_PLACEHOLDER),
        (" unknown ", OrphanReason.ID_PLACEHOLDER),
        ("UNKNOWN^^^SITE", OrphanReason.ID_PLACEHOLDER),
        ("none", OrphanReason.ID_PLACEHOLDER),
        ("n/a", OrphanReason.ID_PLACEHOLDER),
        ("Not Supplied", OrphanReason.ID_PLACEHOLDER),
        ("ANON0001", OrphanReason.ID_PATTERN),
        ("temp_77", OrphanReason.ID_PATTERN),
        ("TRAUMA-12", OrphanReason.ID_PATTERN),
        ("0000", OrphanReason.ID_PATTERN),
        ("99999999", OrphanReason.ID_PATTERN),
        ("111-11-1111", OrphanReason.ID_PATTERN),
        ("xxx", OrphanReason.ID_PATTERN),
        ("???", OrphanReason.ID_PATTERN),
        ("20240229120159", OrphanReason.ID_PATTERN),
        ("P-00000012", OrphanReason.ID_PATTERN),
        ("x" * 300, OrphanReason.ID_UNUSABLE),
        ("17" * 150, OrphanReason.ID_UNUSABLE),
    ],
)
def test_every_kind_of_missing_identifier_has_its_name(
    detector: OrphanDetector, patient_id: str, reason: OrphanReason
) -> None:
    assessment = assess(detector, identity(patient_id))
    assert (assessment.is_orphan, assessment.reason, assessment.key) == (True, reason, None)
    assert assessment.may_link
    assert assessment.detail


@pytest.mark.parametrize(
    "name",
    ["Unknown^Male", "UNKNOWN male Alpha 24/4", "XXWisconsin^Unidentified", "UNK-Bravo", "Trauma^Charlie", "DOE^JOHN"],
)
def test_an_alias_with_a_proper_identifier_is_an_orphan(detector: OrphanDetector, name: str) -> None:
    assert assess(detector, identity(name=name)).reason is OrphanReason.NAME_ALIAS


@pytest.mark.parametrize("name", ["UNKEL^KARL", "DOERING^JOHN", "PHANTOM^XX", ""])
def test_a_name_that_only_looks_like_an_alias_is_not_one(detector: OrphanDetector, name: str) -> None:
    assert not assess(detector, identity(name=name)).is_orphan


def test_placeholder_birth_dates_support_but_do_not_decide(detector: OrphanDetector) -> None:
    assessment = assess(detector, identity(birth_date="19010101"))
    assert (assessment.is_orphan, assessment.supporting) == (False, ("BIRTH_DATE_PLACEHOLDER",))
    nobody = assess(detector, identity(birth_date="19010101", name="^^"))
    assert nobody.reason is OrphanReason.NO_DEMOGRAPHICS


def test_an_issuer_that_archives_make_up_is_none(detector: OrphanDetector) -> None:
    made_up = assess(detector, identity(issuer="DCM4CHEE.1A2B"))
    assert made_up.reason is OrphanReason.ISSUER_PLACEHOLDER
    assert assess(detector, identity("4711^^^DCM4CHEE.1A2B")).reason is OrphanReason.ISSUER_PLACEHOLDER


def test_an_identifier_from_hl7_is_taken_apart(detector: OrphanDetector) -> None:
    assessment = assess(detector, identity("4711^^^SITE&1.2.3&ISO"))
    assert assessment.key == PatientKey("SITE", "4711")
    assert assessment.supporting == ("ID_FROM_HL7",)
    contradicting = assess(detector, identity("4711^^^SITE", issuer="ELSEWHERE"))
    assert contradicting.reason is OrphanReason.ISSUER_CONTRADICTS


def test_an_identifier_shared_by_many_people_is_a_placeholder(detector: OrphanDetector, settings: Settings) -> None:
    limit = settings.orphans.max_persons_per_id
    assert not assess(detector, identity(), persons=limit).is_orphan
    assert assess(detector, identity(), persons=limit + 1).reason is OrphanReason.ID_SHARED


@pytest.mark.parametrize(
    "others",
    [[identity("4712")], [identity("")], [identity("UNKNOWN")], [identity(issuer="A"), identity(issuer="B")]],
)
def test_instances_that_name_different_patients_are_for_a_person_to_judge(
    detector: OrphanDetector, others: list[ReceivedIdentity]
) -> None:
    assessment = assess(detector, identity(), *others)
    assert (assessment.reason, assessment.may_link) == (OrphanReason.IDENTITIES_DISAGREE, False)


def test_spellings_of_one_identity_do_not_disagree(detector: OrphanDetector) -> None:
    assessment = assess(
        detector, identity(" 4711"), identity(issuer="SITE", name="Phantom^0001"), identity(birth_date="19700102")
    )
    assert assessment.key == PatientKey("SITE", "4711")
    assert assessment.supporting == ("BIRTH_DATES_DISAGREE",)


def test_a_study_without_instances_has_no_identity(detector: OrphanDetector) -> None:
    assert assess(detector).reason is OrphanReason.ID_BLANK


def test_details_hold_no_received_value(detector: OrphanDetector) -> None:
    for received in (identity("TRAUMA-4711"), identity(name="UNKNOWN^4711"), identity("4711^^^DCM4CHEE.4711")):
        assert "4711" not in assess(detector, received).detail


@pytest.mark.parametrize("pattern", ["(", "(a+)+", "(a|aa)*"])
def test_a_pattern_that_cannot_be_used_is_named(settings: Settings, pattern: str) -> None:
    orphans = settings.orphans.model_copy(update={"placeholder_name_patterns": (pattern,)})
    with pytest.raises(ConfigError, match=r"orphans\.placeholder_name_patterns"):
        OrphanDetector(orphans, settings.identity)
