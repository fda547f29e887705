"""What must hold in Orthanc before a study is touched."""

from __future__ import annotations

from datetime import datetime

from config.errors import ArchiveConflictError, ArchiveUnavailableError, RelinkRefusedError
from dicom_node.archives.orthanc_http import MissingError, OrthancRest
from dicom_node.archives.orthanc_study import Copy
from inference.types import PatientIdentity

_TIME = "%Y%m%dT%H%M%S"


def check_quiet(rest: OrthancRest, study: Copy, seconds: float) -> None:
    """A study that still grows is not moved. Both times are Orthanc's, so that no two clocks are compared.

    Raises
    ------
    ArchiveUnavailableError
        (``STUDY_NOT_QUIET``): to be tried again.
    """
    if not seconds or not study.last_update:
        return
    try:
        now = datetime.strptime(rest.text("tools/now").strip(), _TIME)
        last = datetime.strptime(study.last_update, _TIME)
    except ValueError:
        raise ArchiveConflictError("the archive gives a time that is none", reason="ARCHIVE_TIME") from None
    if (now - last).total_seconds() < seconds:
        raise ArchiveUnavailableError("the study is still growing; it is tried again", reason="STUDY_NOT_QUIET")


def check_target_patient(rest: OrthancRest, to: PatientIdentity) -> None:
    """The patient that Orthanc has under the target's identifier must not be somebody else.

    Orthanc knows no issuers: one identifier of two hospitals is one patient to it, so the issuer is looked up in an
    instance.

    Raises
    ------
    RelinkRefusedError
        (``TARGET_DEMOGRAPHICS``, ``TARGET_ISSUER``).
    """
    for patient in rest.lookup(to.key.id, "Patient"):
        try:
            tags = rest.get(f"patients/{patient}")["MainDicomTags"]
            if tags.get("PatientID", "").strip() != to.key.id:
                continue
            birth_date, sex = tags.get("PatientBirthDate", "").strip(), tags.get("PatientSex", "").strip()
            if _differ(birth_date, to.birth_date) or _differ(sex, to.sex):
                raise RelinkRefusedError(
                    "the archive has another birth date or sex for the target; correct the record first",
                    reason="TARGET_DEMOGRAPHICS",
                )
            if _differ(_issuer(rest, patient), to.key.issuer):
                raise RelinkRefusedError(
                    "the archive has the target's identifier from another issuer, and cannot tell the two apart",
                    reason="TARGET_ISSUER",
                )
        except MissingError:  # deleted since the lookup
            continue


def _issuer(rest: OrthancRest, patient: str) -> str:
    study = rest.get(f"patients/{patient}")["Studies"][0]
    series = rest.get(f"studies/{study}")["Series"][0]
    instance = rest.get(f"series/{series}")["Instances"][0]
    tags = rest.get(f"instances/{instance}/simplified-tags")
    return str(tags.get("IssuerOfPatientID") or "").strip()


def _differ(one: str, other: str) -> bool:
    return bool(one) and bool(other) and one != other
