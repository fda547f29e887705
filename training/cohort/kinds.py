"""The kinds of study that a cohort can hold, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.errors import CommandError
from training.cohort import illness
from training.cohort.dicom_bone_view import bone_view_study
from training.cohort.dicom_chest_ct import chest_ct_study
from training.cohort.dicom_common import Change, Image, series_uid
from training.cohort.dicom_ct import write_head_ct
from training.cohort.dicom_dx import chest_film_study
from training.cohort.dicom_face import write_face_photos
from training.cohort.dicom_mr import write_head_mr
from training.cohort.dicom_skull import write_skull_films
from training.cohort.dicom_vl import write_fundus, write_histology, write_skin
from training.cohort.person import Person
from training.cohort.visit import Visit

Write = Callable[[Path, Person, Visit, Change | None], list[Image]]


@dataclass(frozen=True, slots=True)
class Kind:
    """``write`` makes the study of a visit in a folder of its own; ``conditions`` are those that its images can show.

    The :class:`~training.cohort.dicom_common.Change` has the last word on every header, and none on pixels.
    """

    name: str
    modality: str
    conditions: tuple[str, ...]
    write: Write


def _head_ct(folder: Path, who: Person, when: Visit, change: Change | None) -> list[Image]:
    files = write_head_ct(folder, who, when, change)
    return [Image(tuple(files), series_uid(who, when, "head-ct"))]


def _head_mr(folder: Path, who: Person, when: Visit, change: Change | None) -> list[Image]:
    files = write_head_mr(folder, who, when, change)
    return [Image(tuple(files), series_uid(who, when, "head-mr"))]


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("head-ct", "CT", illness.HEAD, _head_ct),
        Kind("head-mr", "MR", illness.HEAD, _head_mr),
        Kind("skull-film", "DX", ("sinusitis",), write_skull_films),
        Kind("face-photo", "XC", ("swelling",), write_face_photos),
        Kind("chest-film", "DX", illness.CHEST, chest_film_study),
        Kind("chest-ct", "CT", illness.CHEST, chest_ct_study),
        Kind("bone-view", "CT", ("pacemaker",), bone_view_study),
        Kind("fundus", "OP", illness.EYES, write_fundus),
        Kind("skin", "XC", illness.SKIN, write_skin),
        Kind("histology", "SM", (), write_histology),
    )
}


def kinds_of(names: Sequence[str]) -> list[Kind]:
    """The kinds of these names, in this order.

    Raises
    ------
    CommandError
        when there is no kind of a name, or no name.
    """
    unknown = sorted(set(names) - set(KINDS))
    if unknown or not names:
        raise CommandError(f"kinds of study are {', '.join(KINDS)}; not {', '.join(unknown) or 'none'}")
    return [KINDS[name] for name in names]
