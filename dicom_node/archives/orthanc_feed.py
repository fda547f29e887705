"""Orthanc's change feed as events of studies, without the echo of the node's own re-links.

Moving a study makes Orthanc announce new instances, a new study and, later, a stable one. Such an event is ours while
the study holds nothing but what a re-link put there; an instance more, and it is news.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from config.errors import ArchiveConflictError, ArchiveError
from dicom_node.archives.orthanc_http import MissingError, OrthancRest
from dicom_node.archives.orthanc_study import PENDING, UNDOING, copies, digest_of, read_copy
from dicom_node.archives.protocol import PASSED, StudyEvent

PAGE = 500
# The feed's own filter is silently ignored by Orthanc 1.10.1, so kinds are told apart here. Stable events alone would
# not do: an Orthanc that is started anew forgets which studies were still growing.
_GROWTH = frozenset({"NewInstance", "NewSeries", "NewStudy"})
_STABLE = "StableStudy"


def changes(rest: OrthancRest, since: str) -> Iterator[StudyEvent]:
    """One event per study and page, all with the page's own cursor, then one that moves past the page."""
    if since and not since.isdigit():
        raise ArchiveError("the cursor of the archive's change feed is no number", reason="CURSOR")
    position = int(since or "0")
    if position > int(rest.get("changes", last="")["Last"]):
        position = 0  # Orthanc was set up anew: its numbers began again
    while True:
        page = rest.get("changes", since=position, limit=PAGE)
        after = int(page["Last"])
        if after <= position:
            return
        for study, uid, kind in _events(rest, page["Changes"]):
            yield StudyEvent(str(position), uid, study, kind)
        yield StudyEvent(str(after), "", "", PASSED)
        if page["Done"]:
            return
        position = after


def _events(rest: OrthancRest, page: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    kinds: dict[str, str] = {}
    parents: dict[str, str] = {}
    for change in page:
        kind = change["ChangeType"]
        if kind in _GROWTH or kind == _STABLE:
            study = _study(rest, change, parents)
            if study and kinds.get(study) != _STABLE:
                kinds[study] = _STABLE if kind == _STABLE else "StudyChanged"
    for study, kind in kinds.items():
        try:
            uid = str(rest.get(f"studies/{study}")["MainDicomTags"].get("StudyInstanceUID", ""))
            if not _own(rest, study, uid):
                yield study, uid, kind
        except MissingError:  # deleted, or moved to another patient, since
            continue


def _study(rest: OrthancRest, change: dict[str, Any], parents: dict[str, str]) -> str:
    """The study that a change is about; empty when it is gone."""
    level, resource = change["ResourceType"], str(change["ID"])
    try:
        if level == "Instance":
            resource = str(rest.get(f"instances/{resource}")["ParentSeries"])
        if level in ("Instance", "Series"):
            if resource not in parents:
                parents[resource] = str(rest.get(f"series/{resource}")["ParentStudy"])
            resource = parents[resource]
    except MissingError:
        return ""
    return resource


def _own(rest: OrthancRest, study: str, study_uid: str) -> bool:
    try:
        copy = read_copy(rest, study, study_uid)
    except MissingError:
        raise
    except ArchiveConflictError:  # a study that we would never have moved
        return False
    if copy is None:
        return False
    if copy.mark is not None and copy.mark.instances:
        return copy.mark.instances == digest_of(copy.instances)
    # Not yet marked: copies that are being made stand beside the study that they are made from.
    siblings = [one for one in copies(rest, study_uid) if one.id != study and one.mark is not None]
    return any(
        one.mark is not None and one.mark.state in (PENDING, UNDOING) and copy.instances.keys() <= one.instances.keys()
        for one in siblings
    )
