"""Is the identity that a study came with usable, or is it an orphan?

Sites mark patients nobody can name in many ways: nothing at all, ``UNKNOWN``, trauma aliases, time stamps made by
modalities, identifiers made by archives. Such marks are recycled, so a placeholder is never a key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from config.errors import ConfigError
from config.patterns import MAX_SUBJECT, compile_pattern
from config.settings import IdentitySettings, OrphanSettings
from dicom_node.identity import clean, patient_key, split_cx
from dicom_node.ledger.records import ReceivedIdentity
from inference.types import PatientKey


class OrphanReason(StrEnum):
    """Why an identity is not usable; the names are counted and shown."""

    ID_BLANK = "ID_BLANK"
    ID_UNUSABLE = "ID_UNUSABLE"
    ID_PLACEHOLDER = "ID_PLACEHOLDER"
    ID_PATTERN = "ID_PATTERN"
    ISSUER_PLACEHOLDER = "ISSUER_PLACEHOLDER"
    ISSUER_CONTRADICTS = "ISSUER_CONTRADICTS"
    NAME_ALIAS = "NAME_ALIAS"
    NO_DEMOGRAPHICS = "NO_DEMOGRAPHICS"
    ID_SHARED = "ID_SHARED"
    IDENTITIES_DISAGREE = "IDENTITIES_DISAGREE"


@dataclass(frozen=True, slots=True)
class OrphanAssessment:
    """Whether a study needs recognition, and whether it may be linked without a person.

    ``key`` is set exactly when the study is no orphan. ``detail`` and ``supporting`` hold no received values.
    """

    is_orphan: bool
    reason: OrphanReason | None = None
    detail: str = ""
    key: PatientKey | None = None
    may_link: bool = True
    supporting: tuple[str, ...] = ()


class PersonStatistics(Protocol):
    """How often identifiers are shared; the ledger knows."""

    def persons(self, key: PatientKey) -> int:
        """How many different (name, birth date) pairs were called by this key."""
        ...


class OrphanDetector:
    """Judges identities by configured lists and patterns and by how many people share an identifier.

    Raises
    ------
    ConfigError
        when a pattern cannot be used, naming the setting.
    """

    def __init__(self, orphans: OrphanSettings, identity: IdentitySettings) -> None:
        self._identity = identity
        self._max_persons = orphans.max_persons_per_id
        self._ids = frozenset(clean(text).upper() for text in orphans.placeholder_ids)
        self._birth_dates = frozenset(orphans.placeholder_birth_dates)
        self._id_patterns = _compile("placeholder_id_patterns", orphans.placeholder_id_patterns)
        self._issuer_patterns = _compile("placeholder_issuer_patterns", orphans.placeholder_issuer_patterns)
        self._name_patterns = _compile("placeholder_name_patterns", orphans.placeholder_name_patterns)

    def assess(self, identities: Sequence[ReceivedIdentity], statistics: PersonStatistics) -> OrphanAssessment:
        """Judges the distinct identities that the instances of one study carry."""
        if not identities:
            return OrphanAssessment(True, OrphanReason.ID_BLANK, "no instance carries an identity")
        supporting = self._supporting(identities)
        if _disagree(identities, self._identity):
            return OrphanAssessment(
                is_orphan=True,
                reason=OrphanReason.IDENTITIES_DISAGREE,
                detail="the instances of this study name different patients; a person has to decide",
                may_link=False,
                supporting=supporting,
            )
        found = [self._judge(one, statistics) for one in identities]
        for verdict in found:
            if isinstance(verdict, tuple):
                return OrphanAssessment(True, verdict[0], verdict[1], supporting=supporting)
        # An instance that names the issuer says more than one that leaves it out.
        keys = sorted((one for one in found if isinstance(one, PatientKey)), key=lambda key: not key.issuer)
        return OrphanAssessment(False, key=keys[0], supporting=supporting)

    def _judge(self, one: ReceivedIdentity, statistics: PersonStatistics) -> PatientKey | tuple[OrphanReason, str]:
        raw, authority = split_cx(one.patient_id)
        if not raw:
            return OrphanReason.ID_BLANK, "Patient ID is absent or blank"
        key = patient_key(one.patient_id, one.issuer, self._identity)
        if key is None:
            return OrphanReason.ID_UNUSABLE, "Patient ID or its issuer is longer than any identifier can be"
        for verdict in (self._by_id(raw, key), self._by_issuer(clean(one.issuer), authority), self._by_person(one)):
            if verdict is not None:
                return verdict
        persons = statistics.persons(key)
        if persons > self._max_persons:
            return OrphanReason.ID_SHARED, f"{persons} different people were called by this Patient ID"
        return key

    def _by_id(self, raw: str, key: PatientKey) -> tuple[OrphanReason, str] | None:
        if raw.upper() in self._ids or key.id.upper() in self._ids:
            return OrphanReason.ID_PLACEHOLDER, "Patient ID is in orphans.placeholder_ids"
        for number, pattern in enumerate(self._id_patterns):
            if pattern.fullmatch(raw[:MAX_SUBJECT]):
                return OrphanReason.ID_PATTERN, f"Patient ID matches orphans.placeholder_id_patterns[{number}]"
        return None

    def _by_issuer(self, named: str, authority: str) -> tuple[OrphanReason, str] | None:
        for issuer in (named, authority):
            if any(pattern.fullmatch(issuer[:MAX_SUBJECT]) for pattern in self._issuer_patterns if issuer):
                return OrphanReason.ISSUER_PLACEHOLDER, "the issuer matches orphans.placeholder_issuer_patterns"
        if named and authority and named != authority:
            return OrphanReason.ISSUER_CONTRADICTS, "Issuer of Patient ID is not the authority inside Patient ID"
        return None

    def _by_person(self, one: ReceivedIdentity) -> tuple[OrphanReason, str] | None:
        name = clean(one.name)
        if any(pattern.match(name[:MAX_SUBJECT]) for pattern in self._name_patterns):
            # A proper identifier does not help: it was issued to the alias.
            return OrphanReason.NAME_ALIAS, "the name is one given to patients nobody can name"
        if not name.strip("^= ") and clean(one.birth_date) in self._birth_dates:
            return OrphanReason.NO_DEMOGRAPHICS, "no name, and a birth date that stands for none"
        return None

    def _supporting(self, identities: Sequence[ReceivedIdentity]) -> tuple[str, ...]:
        signs = []
        if any(clean(one.birth_date) in self._birth_dates for one in identities):
            signs.append("BIRTH_DATE_PLACEHOLDER")
        if any("^" in one.patient_id for one in identities):
            signs.append("ID_FROM_HL7")
        if len({clean(one.birth_date) for one in identities if clean(one.birth_date)}) > 1:
            signs.append("BIRTH_DATES_DISAGREE")
        return tuple(signs)


def _disagree(identities: Sequence[ReceivedIdentity], settings: IdentitySettings) -> bool:
    """Different identifiers, or different issuers, where both are given; an identifier beside none at all."""
    keys = {patient_key(one.patient_id, one.issuer, settings) for one in identities}
    ids = {key.id if key else "" for key in keys}
    issuers = {key.issuer for key in keys if key and key.issuer}
    return len(ids) > 1 or len(issuers) > 1


def _compile(setting: str, patterns: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    try:
        return tuple(compile_pattern(text) for text in patterns)
    except ConfigError as error:
        raise ConfigError(f"orphans.{setting}: {error}", reason=error.reason) from None
