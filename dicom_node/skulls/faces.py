"""What a folder of faces holds: photographs, each a candidate, and head CT series; named, hashed, loaded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.errors import CommandError, HeaderError, ImagingError
from inference.imaging.headers import read_header
from inference.imaging.options import LoadOptions
from inference.imaging.series import LoadResult, kind_of, load_series
from inference.types import InstanceHeader, LoadedSeries, SeriesHeader
from training.manifests.images import is_picture, load_path
from training.manifests.schema import Row

# Photographs without colour are photographs all the same: those of people long missing often have none.
_OPTIONS = LoadOptions(allow=frozenset({"NOT_COLOUR"}))
_NIFTI = (".nii", ".nii.gz")
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Face:
    """One candidate: its name below the folder, its files, and a hash of what is in them.

    ``headers`` are those of a DICOM object or series.
    """

    name: str
    files: tuple[Path, ...]
    digest: str
    headers: tuple[InstanceHeader, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """What cannot be searched, and the name of why."""

    name: str
    reason: str


def faces_in(folder: Path, cache: Path) -> tuple[list[Face], list[Refused]]:
    """Everything in a folder and below it, in the order of names; what is hidden is passed over, and the ``cache``.

    A picture and a DICOM photograph are a candidate each, the slices of a DICOM series are one, a NIfTI volume is one.

    Raises
    ------
    CommandError
        ``NOT_FOUND`` when there is no such folder.
    """
    if not folder.is_dir():
        raise CommandError(f"there is no folder {folder}", reason="NOT_FOUND")
    faces: list[Face] = []
    refused: list[Refused] = []
    for files in _folders(folder, cache):
        slices: dict[str, list[InstanceHeader]] = {}
        for file in files:
            try:
                header = _header(file)
            except (HeaderError, OSError) as error:
                reason = "UNREADABLE_FILE" if isinstance(error, OSError) else "UNKNOWN_FORMAT"
                refused.append(Refused(_name(folder, file), reason))
                continue
            if header is not None and kind_of(header) == "volume":
                slices.setdefault(header.series_uid, []).append(header)
            else:
                headers = () if header is None else (header,)
                faces.append(Face(_name(folder, file), (file,), _digest([file]), headers))
        for headers_of in slices.values():
            paths = tuple(one.path for one in headers_of)
            place = paths[0] if len(slices) > 1 or paths[0].parent == folder else paths[0].parent
            faces.append(Face(_name(folder, place), paths, _digest(paths), tuple(headers_of)))
    return faces, refused


def of_another_study(faces: Sequence[Face], path: Path, query: LoadedSeries) -> tuple[list[Face], list[Refused]]:
    """The faces without those of the query's own study, whose skin fits its bone because it is one scan."""
    own = {_digest([path])} if path.is_file() else set()
    same = [
        face for face in faces if face.digest in own or (face.headers and face.headers[0].study_uid == query.study_uid)
    ]
    return [face for face in faces if face not in same], [Refused(face.name, "SAME_STUDY") for face in same]


def load_face(face: Face) -> LoadedSeries:
    """The candidate's image.

    Raises
    ------
    ImagingError
        with the reason why it cannot be used.
    """
    if face.headers:
        first = face.headers[0]
        series = SeriesHeader(first.study_uid, first.series_uid, face.headers)
        return _first(load_series(series, _OPTIONS))
    (file,) = face.files
    modality = "CT" if file.name.lower().endswith(_NIFTI) else "XC"
    return _first(load_path(file, _row(modality), _OPTIONS))


def load_query(path: Path) -> LoadedSeries:
    """A skull radiograph (DICOM, PNG, JPEG), or a head CT (a folder with one DICOM series, NIfTI).

    Raises
    ------
    CommandError
        ``NOT_FOUND`` when there is nothing.
    ImagingError
        with the reason why it cannot be used.
    """
    if not path.exists():
        raise CommandError(f"there is no file or folder {path}", reason="NOT_FOUND")
    modality = "CT" if path.name.lower().endswith(_NIFTI) else ""
    if path.is_file() and is_picture(path):
        modality = "DX"
    return _first(load_path(path, _row(modality)))


def _folders(folder: Path, cache: Path) -> Iterator[list[Path]]:
    """The visible files of each folder; links to folders are not followed, which could lead round and round."""
    for here, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith(".") and Path(here) / name != cache)
        yield [Path(here) / name for name in sorted(names) if not name.startswith(".")]


def _header(file: Path) -> InstanceHeader | None:
    """The header of a DICOM object; None for a picture or a NIfTI volume."""
    if file.name.lower().endswith(_NIFTI) or is_picture(file):
        return None
    return read_header(file)


def _digest(files: Sequence[Path]) -> str:
    """SHA-256 of the contents, whatever the names and the order of the files."""
    found = []
    for file in files:
        one = hashlib.sha256()
        with file.open("rb") as opened:
            while piece := opened.read(_PIECE):
                one.update(piece)
        found.append(one.hexdigest())
    return found[0] if len(found) == 1 else hashlib.sha256("".join(sorted(found)).encode()).hexdigest()


def _name(folder: Path, path: Path) -> str:
    """Relative, and fit to be shown: a file's name can hold anything."""
    from dicom_node.cli.output import printable

    return printable(path.relative_to(folder).as_posix())


def _row(modality: str) -> Row:
    return Row(path="image", patient_id="unknown", study="unknown", modality=modality)


def _first(loaded: LoadResult) -> LoadedSeries:
    if loaded.images:
        return loaded.images[0]
    why = loaded.rejections[0] if loaded.rejections else None
    raise ImagingError(why.detail if why else "it holds no image", reason=why.reason if why else "NO_PIXELS")
