"""Whom a study says it shows: the assessed identity, or what an orphan still knows of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from config.settings import OrphanSettings
from dicom_node.identity import clean
from dicom_node.ledger import ReceivedIdentity
from dicom_node.orphans import OrphanAssessment
from inference.demographics import Demographics
from inference.types import PatientIdentity


@dataclass(frozen=True, slots=True)
class Subject:
    """``identity`` is set exactly for a study with a usable identity. ``demographics`` serves the others: sex, age and
    dates that are no placeholders, to be held against candidates; empty fields are neutral."""

    assessment: OrphanAssessment
    identity: PatientIdentity | None
    demographics: Demographics


def subject_of(
    assessment: OrphanAssessment,
    identities: Sequence[ReceivedIdentity],
    orphans: OrphanSettings,
    age: str = "",
    study_date: str = "",
) -> Subject:
    """Joins what the instances of one study say; where they differ, the most frequent statement counts."""
    name = _most_frequent([clean(one.name) for one in identities])
    sex = _most_frequent([clean(one.sex).upper() for one in identities])
    birth_date = _most_frequent([clean(one.birth_date) for one in identities])
    identity = None if assessment.key is None else PatientIdentity(assessment.key, name, birth_date, sex)
    believable = "" if birth_date in orphans.placeholder_birth_dates else birth_date
    return Subject(assessment, identity, Demographics(sex, believable, clean(age), clean(study_date)))


def _most_frequent(texts: Sequence[str]) -> str:
    counted = Counter(text for text in texts if text)
    return counted.most_common(1)[0][0] if counted else ""
