"""Making the instances of one Orthanc study anew under another patient, and proving that they are the same.

Nothing in here deletes an original: whoever calls does that, after :func:`fill` has returned.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from pydicom.datadict import keyword_for_tag

from config.errors import ArchiveConflictError, ArchiveError, ArchiveUnavailableError
from dicom_node.archives.canonical import dataset_sha256, is_sequence
from dicom_node.archives.elements import Element, Syntax, elements, items, parse
from dicom_node.archives.identity_edit import ORIGINAL_ATTRIBUTES, OTHER_PATIENT_IDS, Edited
from dicom_node.archives.orthanc_http import MissingError, OrthancRest
from dicom_node.archives.orthanc_study import RECEIPT, RECEIPT_NAME, Copy, is_mark
from dicom_node.crashpoints import crash_point

log = structlog.get_logger()

# Orthanc's own metadata (its ServerEnumerations, up to 1.12): it belongs to the instance, not to the user.
SYSTEM_METADATA = frozenset(
    {
        "AnonymizedFrom", "CalledAET", "ExpectedNumberOfInstances", "HttpHost", "HttpUsername", "IndexInSeries",
        "LastUpdate", "MainDicomSequences", "MainDicomTagsSignature", "ModifiedFrom", "Origin", "PixelDataOffset",
        "PixelDataVR", "ReceptionDate", "RemoteAET", "RemoteIP", "SopClassUid", "TransferSyntax",
    }
)  # fmt: skip
SYSTEM_ATTACHMENTS = frozenset({"dicom", "dicom-as-json", "dicom-until-pixel-data"})
_KEEP = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_JOB_SECONDS = 900.0
_AWAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Filling:
    """What to make: originals by SOP Instance UID, how to make the new bytes, what Orthanc has of them already.

    ``digests``: what the new content has to be, where that is known already (it spares reading the original again).
    ``ours``: all that Orthanc has of them was made by this re-link, and goes again if the re-link cannot be made.
    """

    originals: Mapping[str, str]
    produce: Callable[[str, bytes], bytes]
    present: Mapping[str, str]
    digests: Mapping[str, str] = field(default_factory=dict)
    ours: bool = False


def fill(rest: OrthancRest, filling: Filling) -> dict[str, str]:
    """Stores every instance that is missing; returns Orthanc's ids by SOP Instance UID, each one verified.

    Verified means: downloaded again and, element by element, equal to what it should be, pixels included.

    Raises
    ------
    ArchiveConflictError
        where Orthanc has, or gives back, something else (``OTHER_CONTENT``). Copies made so far are removed again.
    """
    made: dict[str, str] = {}
    try:
        for uid, original in filling.originals.items():
            made[uid] = _one(rest, filling, uid, original)
            crash_point("relink.copied_one")
    except MissingError:  # an original is gone: what was made of it may be all there is
        raise
    except ArchiveConflictError:
        mine = {uid: one for uid, one in made.items() if filling.ours or uid not in filling.present}
        _take_back(rest, mine, filling.originals)
        raise
    return made


def _one(rest: OrthancRest, filling: Filling, uid: str, original: str) -> str:
    present = filling.present.get(uid)
    if present is not None and uid in filling.digests and _digest(rest, present) == filling.digests[uid]:
        return present
    data = filling.produce(uid, rest.file(original))
    digest = dataset_sha256(parse(data))
    if present is not None:
        if _digest(rest, present) == digest:
            return present
        # A bulk modification says what it made each instance from; anything else is somebody else's.
        if rest.metadata(f"instances/{present}").get("ModifiedFrom") != original:
            raise _other_content()
        rest.delete(f"instances/{present}")
    answer = rest.upload(data)
    if answer["Status"] not in ("Success", "AlreadyStored"):
        raise ArchiveError("the archive did not store a corrected copy; check its filters", reason="NOT_STORED")
    stored = str(answer["ID"])
    if stored == original:
        # Same id means same patient for Orthanc: a guard before this should have refused.
        raise ArchiveError("the archive takes both identities for the same patient", reason="SAME_PATIENT_ID")
    if _digest(rest, stored) != digest:
        if answer["Status"] == "Success":
            rest.delete(f"instances/{stored}")
        raise _other_content()
    return stored


def _take_back(rest: OrthancRest, made: Mapping[str, str], originals: Mapping[str, str]) -> None:
    """Removes copies, so that they do not stay beside their originals; none whose original is not there."""
    doomed = []
    for uid, one in made.items():
        with contextlib.suppress(MissingError):
            rest.get(f"instances/{originals[uid]}")
            doomed.append(one)
    if doomed:
        rest.bulk_delete(doomed)


def _digest(rest: OrthancRest, instance: str) -> str:
    return dataset_sha256(parse(rest.file(instance)))


def _other_content() -> ArchiveConflictError:
    return ArchiveConflictError(
        "the archive holds other content under a SOP Instance UID of the study; nothing was deleted",
        reason="OTHER_CONTENT",
    )


def replacement(edited: Edited) -> dict[str, Any] | None:
    """The ``Replace`` of a bulk modification that writes what the edit wrote, or None where it cannot.

    It replaces whole sequences, knows one character set for request and object, and says the same for every
    instance: so no item may be there to preserve, nothing may have to go, and all text has to be ASCII.
    """
    tags = [int(tag, 16) for tag in edited.former if not tag.startswith("0002")]
    source = parse(edited.data)
    preserved = (edited.former.get(f"{tag:08X}") for tag in (ORIGINAL_ATTRIBUTES, OTHER_PATIENT_IDS))
    if any(old is not None for old in preserved) or not all(tag in source.by_tag for tag in tags):
        return None
    try:
        return _values(source.body, [source.by_tag[tag] for tag in tags], source.syntax)
    except UnicodeError:
        return None


def _values(body: bytes, found: Iterable[Element], syntax: Syntax) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for element in found:
        if is_sequence(element):
            inner = items(body, element, syntax)
            values[keyword_for_tag(element.tag)] = [
                _values(body, elements(body, start, stop, syntax), syntax) for start, stop in inner
            ]
        else:
            text = body[element.value : element.content].decode("ascii").rstrip(" \0")
            if not text.isprintable() or "\\" in text:
                raise UnicodeError
            values[keyword_for_tag(element.tag)] = text
    return values


def bulk_modify(rest: OrthancRest, study: str, replace: Mapping[str, Any]) -> bool:
    """Lets Orthanc make the copies; False where it would not or could not, which leaves all or part of them to do.

    At the level "Patient" the one study named here moves and no other (at the level of the patient itself all of
    the patient's studies would, strangers under a placeholder included).
    """
    body = {
        "Resources": [study],
        "Level": "Patient",
        "Replace": replace,
        "Keep": _KEEP,
        "Force": True,
        "KeepSource": True,
        "Asynchronous": True,
    }
    try:
        job = str(rest.post("tools/bulk-modify", body)["ID"])
    except ArchiveUnavailableError:
        raise
    except ArchiveError as error:  # too old for it, or its sanity checks refuse (1.11.3+ compares with the patient)
        log.info("orthanc.bulk_refused", reason=error.reason)
        return False
    return _finished(rest, job)


def _finished(rest: OrthancRest, job: str) -> bool:
    deadline, wait = time.monotonic() + _JOB_SECONDS, 0.02
    while time.monotonic() < deadline:
        try:
            state = rest.get(f"jobs/{job}")["State"]
        except MissingError:  # Orthanc was started anew and has forgotten it
            return False
        if state in ("Success", "Failure"):
            return bool(state == "Success")
        time.sleep(wait)
        wait = min(1.0, wait * 1.5)
    rest.post(f"jobs/{job}/cancel", {})
    raise ArchiveUnavailableError("a modification job of the archive does not end; it was cancelled", reason="JOB")


def await_modifications(rest: OrthancRest) -> None:
    """Waits until no modification job is under way: one that we asked for may have outlived our connection.

    Raises
    ------
    ArchiveUnavailableError
        (``JOB_RUNNING``) when one goes on for long: to be tried again.
    """
    deadline, wait = time.monotonic() + _AWAIT_SECONDS, 0.02
    while any(_under_way(job) for job in rest.get("jobs", expand="")):
        if time.monotonic() > deadline:
            raise ArchiveUnavailableError("a modification job of the archive is still running", reason="JOB_RUNNING")
        time.sleep(wait)
        wait = min(1.0, wait * 1.5)


def _under_way(job: Mapping[str, Any]) -> bool:
    return job["Type"] == "ResourceModification" and job["State"] in ("Pending", "Running", "Paused", "Retry")


def copy_annotations(rest: OrthancRest, source: Copy, target: Copy) -> None:
    """User-defined metadata, attachments and labels: Orthanc hangs them on ids, so a moved study would lose them."""
    _annotate(rest, source.path, target.path)
    for old, new in _series_pairs(rest, source, target):
        _annotate(rest, f"series/{old}", f"series/{new}")
    for uid, old in source.instances.items():
        if uid in target.instances:
            _annotate(rest, f"instances/{old}", f"instances/{target.instances[uid]}")


def _annotate(rest: OrthancRest, source: str, target: str) -> None:
    for name, value in rest.metadata(source).items():
        if name not in SYSTEM_METADATA and not is_mark(name, value):
            try:
                rest.put_metadata(target, name, value)
            except ArchiveError as error:
                if error.reason != "ARCHIVE_DENIED":
                    raise
                # A newer Orthanc's own metadata: it lets nobody set it, and has set it itself.
    for name in rest.attachments(source):
        if name not in SYSTEM_ATTACHMENTS and name not in (RECEIPT, RECEIPT_NAME):
            rest.put_attachment(target, name, rest.attachment(source, name))
    for label in rest.labels(source):
        rest.put_label(target, label)


def _series_pairs(rest: OrthancRest, source: Copy, target: Copy) -> Iterator[tuple[str, str]]:
    new = {_series_uid(rest, series): series for series in target.series}
    for old in source.series:
        uid = _series_uid(rest, old)
        if uid in new:
            yield old, new[uid]


def _series_uid(rest: OrthancRest, series: str) -> str:
    return str(rest.get(f"series/{series}")["MainDicomTags"].get("SeriesInstanceUID", ""))
