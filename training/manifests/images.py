"""From a row of a manifest to pixels: DICOM files and series, NIfTI volumes, PNG and JPEG pictures.

All of them end in the loaders of :mod:`inference.imaging`, so that a radiograph is one radiograph however it came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from config.errors import HeaderError, ImagingError
from inference.imaging.headers import read_header
from inference.imaging.labels import laterality_of, view_of
from inference.imaging.options import LoadOptions
from inference.imaging.series import LoadResult, load_series
from inference.types import InstanceHeader, LoadedSeries, Rejection, SeriesHeader
from training.manifests.files import Manifest
from training.manifests.schema import Row

__all__ = ["FILE_REASONS", "load_path", "load_row"]

# Why a row gives no image, beside the names of inference.imaging.rejections.
FILE_REASONS = {
    "MISSING_FILE": "there is no file or folder at the row's path",
    "UNKNOWN_FORMAT": "the file is neither DICOM nor NIfTI nor PNG nor JPEG",
    "EMPTY_FOLDER": "the folder holds no image",
    "SEVERAL_SERIES": "the folder holds more than one DICOM series, and the column series names none of them",
    "TOO_MANY_FILES": "the folder holds more files than any series has instances",
    "NO_MODALITY": "a volume without DICOM header needs the manifest's column modality (CT or MR)",
}
MAX_FILES = 20_000
_NIFTI = (".nii", ".nii.gz", ".hdr")
_NIFTI_PIXELS = ".img"
_PICTURE_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


def load_row(manifest: Manifest, row: Row, options: LoadOptions | None = None) -> LoadResult:
    """The image or volume of a row, in calibrated units; what cannot be used is a failure to enrol, never an exception.

    ``images`` is empty, or holds the row's image, of several volumes in one series the one with most slices first.
    What the row says of modality, view and laterality goes before what a DICOM header says. A DICOM image keeps the
    UIDs of its header; others take ``study``, ``series`` and ``instance`` of the row (its path, where it has none).
    Pictures have NaN as spacing.

    ``rejections`` are named by :data:`FILE_REASONS` or :data:`inference.imaging.rejections.REASONS`.

    Raises
    ------
    CommandError
        ``PATH_OUTSIDE``, see :meth:`Manifest.file`.
    """
    return load_path(manifest.file(row), row, options)


def load_path(path: Path, row: Row, options: LoadOptions | None = None) -> LoadResult:
    """As :func:`load_row`, for a path that was judged before."""
    options = options or LoadOptions()
    try:
        if path.is_dir():
            return _load_folder(path, row, options)
        return _load_file(path, row, options)
    except ImagingError as error:
        return LoadResult((), (Rejection(error.reason, str(error), row.series, row.instances),))
    except OSError as error:
        detail = f"it cannot be read: {error.strerror}"
        return LoadResult((), (Rejection("UNREADABLE_FILE", detail, row.series, row.instances),))


def _load_file(path: Path, row: Row, options: LoadOptions) -> LoadResult:
    if not path.exists():
        raise _refuse("MISSING_FILE")
    if not path.is_file():
        raise _refuse("UNKNOWN_FORMAT")
    if path.name.lower().endswith(_NIFTI):
        from training.manifests.nifti import load_nifti

        if not row.modality:
            raise _refuse("NO_MODALITY")
        return _whole(load_nifti(path, header_of(row, path), options))
    if is_picture(path):
        from training.manifests.pictures import load_picture

        header = header_of(row, path)
        return _whole(labelled(load_picture(path, header, options), header))
    try:
        header = read_header(path)
    except HeaderError as error:
        # What has no DICOM preamble and no other known form is of no known format at all.
        raise _refuse("UNKNOWN_FORMAT" if error.reason == "NOT_DICOM" else "UNREADABLE_FILE", str(error)) from None
    return _load_dicom([header], row, options)


def _load_folder(path: Path, row: Row, options: LoadOptions) -> LoadResult:
    """The one DICOM series of a folder, or the one that the row names, or pictures as the slices of a volume.

    What is no image in the folder (notes, licences) is passed over.
    """
    files = _files_in(path)
    headers = [header for file in files if (header := _header(file)) is not None]
    if headers:
        own = [header for header in headers if header.series_uid == row.series] or headers
        if len({header.series_uid for header in own}) > 1:
            raise _refuse("SEVERAL_SERIES")
        return _load_dicom(own, row, options)
    pictures = [file for file in files if is_picture(file)]
    if not pictures:
        raise _refuse("EMPTY_FOLDER")
    from training.manifests.pictures import load_slices

    if not row.modality:
        raise _refuse("NO_MODALITY")
    return _whole(load_slices(pictures, header_of(row, path), options))


def _files_in(folder: Path) -> list[Path]:
    files: list[Path] = []
    for item in folder.iterdir():
        if item.is_file() and not item.name.startswith("."):
            files.append(item)
        if len(files) > MAX_FILES:
            raise _refuse("TOO_MANY_FILES")
    return sorted(files)


def _header(file: Path) -> InstanceHeader | None:
    if is_picture(file):
        return None
    try:
        return read_header(file)
    except HeaderError:
        return None


def is_picture(path: Path) -> bool:
    """Whether a file begins like a PNG or a JPEG, whatever its name says."""
    with path.open("rb") as file:
        return file.read(8).startswith(_PICTURE_STARTS)


def _load_dicom(headers: Sequence[InstanceHeader], row: Row, options: LoadOptions) -> LoadResult:
    stated = [replace(header, attributes={**header.attributes, **_stated(row)}) for header in headers]
    series = SeriesHeader(stated[0].study_uid, stated[0].series_uid, tuple(stated))
    loaded = load_series(series, options)
    by_uid = {header.sop_instance_uid: header for header in stated}
    images = [labelled(image, by_uid[image.sop_instance_uids[0]]) for image in loaded.images]
    return LoadResult(tuple(images), loaded.rejections)


def header_of(row: Row, path: Path) -> InstanceHeader:
    """What a header would say of an image that has none."""
    return InstanceHeader(row.instance or row.path, "", "", row.study, row.series or row.path, path, _stated(row))


def labelled(image: LoadedSeries, header: InstanceHeader) -> LoadedSeries:
    """The image with view and laterality as the header, and through it the manifest, has them."""
    laterality = laterality_of(header, eye=image.kind == "fundus")
    return replace(image, view=image.view or view_of(header), laterality=laterality)


def _stated(row: Row) -> dict[str, Any]:
    said = {"Modality": row.modality, "ViewPosition": row.view, "ImageLaterality": row.laterality}
    return {keyword: value for keyword, value in said.items() if value}


def _whole(image: LoadedSeries) -> LoadResult:
    return LoadResult((image,), ())


def _refuse(name: str, detail: str = "") -> ImagingError:
    return ImagingError(detail or FILE_REASONS[name], reason=name)
