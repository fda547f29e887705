"""What Orthanc holds of a study, and the marks that re-links leave on it.

Orthanc's ids hash the Patient ID, so a study that is given to another patient is another Orthanc study: while one is
being moved, two have the same Study Instance UID. The mark (user-defined metadata) says which is which.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from config.errors import ArchiveConflictError
from dicom_node.archives.orthanc_http import MissingError, OrthancRest

# User-defined metadata and attachments have numbers from 1024 on; a site may give names to these (deploy/orthanc.json).
MARK, RECEIPT = "4171", "4172"
RECEIPT_NAME = "MedReIDReceipt"

# On the study that is left: the copies are being made. On the one that comes to be: complete; the former one is gone.
PENDING, COPIED, DONE = "pending", "copied", "done"
# The same for the way back.
UNDOING, UNDONE = "undoing", "undone"


@dataclass(frozen=True, slots=True)
class Mark:
    """``instances`` is a digest of the SOP Instance UIDs that the re-link put there: more than those is news."""

    decision_id: str
    state: str
    at: str = ""
    instances: str = ""


@dataclass(frozen=True, slots=True)
class Copy:
    """One Orthanc study. ``instances`` maps SOP Instance UID to Orthanc's instance id."""

    id: str
    patient_id: str
    last_update: str
    instances: Mapping[str, str]
    series: tuple[str, ...]
    mark: Mark | None

    @property
    def path(self) -> str:
        return f"studies/{self.id}"


def copies(rest: OrthancRest, study_uid: str) -> list[Copy]:
    """Every Orthanc study with exactly this Study Instance UID.

    Raises
    ------
    ArchiveConflictError
        (``DUPLICATE_SOP_INSTANCE``) where a SOP Instance UID stands in two series.
    """
    found = []
    for study in rest.lookup(study_uid, "Study"):
        try:
            copy = read_copy(rest, study, study_uid)
        except MissingError:  # deleted since the lookup
            continue
        if copy is not None and copy.instances:
            found.append(copy)
    return found


def read_copy(rest: OrthancRest, study: str, study_uid: str) -> Copy | None:
    values = rest.get(f"studies/{study}")
    if values["MainDicomTags"].get("StudyInstanceUID", "") != study_uid:
        return None
    instances: dict[str, str] = {}
    for instance in rest.get(f"studies/{study}/instances"):
        uid = instance["MainDicomTags"].get("SOPInstanceUID", "")
        if uid in instances:
            raise ArchiveConflictError(
                "a SOP Instance UID stands in two series of the study", reason="DUPLICATE_SOP_INSTANCE"
            )
        instances[uid] = instance["ID"]
    patient_id = values["PatientMainDicomTags"].get("PatientID", "").strip()
    return Copy(
        study, patient_id, values.get("LastUpdate", ""), instances, tuple(values["Series"]), read_mark(rest, study)
    )


def read_mark(rest: OrthancRest, study: str) -> Mark | None:
    try:
        # By number: that works whether or not the site has given it a name.
        return Mark(**json.loads(rest.text(f"studies/{study}/metadata/{MARK}")))
    except MissingError:
        return None
    except (ValueError, TypeError):
        raise ArchiveConflictError(f"metadata {MARK} of an Orthanc study is not this node's", reason="MARK") from None


def is_mark(name: str, value: str) -> bool:
    """Whether a metadata is this node's, under its number or under a name that the site has registered for it."""
    if name == MARK:
        return True
    try:
        Mark(**json.loads(value))
    except (ValueError, TypeError):
        return False
    return True


def put_mark(rest: OrthancRest, study: str, mark: Mark) -> None:
    rest.put_metadata(f"studies/{study}", MARK, json.dumps(asdict(mark)))


def digest_of(sop_instance_uids: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(sop_instance_uids)).encode("utf-8")).hexdigest()
