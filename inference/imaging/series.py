"""Loads whatever a series holds: radiographs, photographs, volumes. Nothing is refused without a name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from config.errors import ImagingError
from inference.imaging.labels import image_type, shows_an_eye
from inference.imaging.options import LoadOptions
from inference.imaging.photograph import load_photograph, rgb_of
from inference.imaging.pixels import PixelObject, is_grey, open_pixels
from inference.imaging.radiograph import load_radiograph
from inference.imaging.rejections import refuse
from inference.imaging.volume import load_volumes
from inference.types import InstanceHeader, LoadedSeries, Rejection, SeriesHeader

__all__ = ["LoadOptions", "LoadResult", "kind_of", "load_series"]

Kind = Literal["radiograph", "fundus", "photograph", "volume", "capture"]

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_KIND_OF_CLASS: dict[str, Kind] = {
    **dict.fromkeys(("2", "2.1", "2.2", "4", "4.1", "4.4"), "volume"),
    **dict.fromkeys(
        ("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "12.1", "12.2"), "radiograph"
    ),
    **dict.fromkeys(("77.1.5.1", "77.1.5.2", "77.1.5.5", "77.1.5.6"), "fundus"),
    # Endoscopy, microscopy, microscopy in slide coordinates, photography, whole slides, dermoscopy
    **dict.fromkeys(("77.1.1", "77.1.2", "77.1.3", "77.1.4", "77.1.6", "77.1.7"), "photograph"),
    **dict.fromkeys(("7", "7.1", "7.2", "7.3", "7.4"), "capture"),
}  # fmt: skip
_KIND_OF_MODALITY: dict[str, Kind] = {
    **dict.fromkeys(("CT", "MR"), "volume"),
    **dict.fromkeys(("CR", "DX", "RG", "IO", "PX", "MG"), "radiograph"),
    "OP": "fundus",
    **dict.fromkeys(("XC", "SM", "GM", "ES", "DMS"), "photograph"),
}
# Captures of these modalities are photographs even where they came out grey; those of others may be either.
_PHOTO_MODALITIES = frozenset({"OP", "XC", "SM", "GM", "ES", "DMS"})
_EITHER_MODALITIES = frozenset({"", "OT", "SC"})
# Image Type values of volume renderings (PS3.3 C.7.6.16.2.4.6 has VOLUME_RENDER; scanners abbreviate).
_RENDERED = frozenset({"VOLUME", "VOLUME_RENDER", "VOLREN", "VRT", "3D"})


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What could be used of a series, and why the rest could not, one entry per reason."""

    images: tuple[LoadedSeries, ...]
    rejections: tuple[Rejection, ...]


def kind_of(header: InstanceHeader) -> Kind | None:
    """Which loader an object gets: by standard SOP class, for a private one by modality; None where there is none.

    A secondary capture is a ``capture``: whether it is a radiograph or a photograph is seen in its pixels.
    """
    if not header.sop_class_uid.startswith(_STORAGE):
        return _KIND_OF_MODALITY.get(header.modality)
    kind = _KIND_OF_CLASS.get(header.sop_class_uid.removeprefix(_STORAGE))
    if kind == "photograph" and shows_an_eye(header):
        return "fundus"
    if kind == "capture" and _KIND_OF_MODALITY.get(header.modality) == "volume":
        # A secondary capture from a CT or MR scanner is a rendering where it says so, else a screen shot.
        return "photograph" if _RENDERED.intersection(image_type(header)) else None
    return kind


def load_series(series: SeriesHeader, options: LoadOptions | None = None) -> LoadResult:
    """Loads a series. Bad images never raise: each refusal is a :class:`Rejection` with its name and count."""
    options = options or LoadOptions()
    refused = _Refusals(series.series_uid)
    groups: dict[Kind, list[InstanceHeader]] = {}
    for header in series.instances:
        kind = kind_of(header)
        if not header.has_pixels:
            refused.add(refuse("NO_PIXELS", "the object has no rows and columns"), 1)
        elif kind is None:
            refused.add(refuse("UNSUPPORTED_SOP_CLASS", "no loader for this SOP class and modality"), 1)
        else:
            groups.setdefault(kind, []).append(header)
    images = load_volumes(groups.pop("volume", []), options, refused.add)
    singles = [(header, kind) for kind, headers in groups.items() for header in headers]
    images.extend(_load_singles(singles, options, refused.add))
    return LoadResult(tuple(images), refused.all())


def _load_singles(
    singles: list[tuple[InstanceHeader, Kind]], options: LoadOptions, report: Callable[[ImagingError, int], None]
) -> list[LoadedSeries]:
    images: list[LoadedSeries] = []
    left = options.max_decoded_bytes
    for header, kind in singles:
        try:
            image = _load_single(header, kind, options)
            left -= image.pixels.nbytes
            if left < 0:
                raise refuse("IMAGE_TOO_LARGE", f"the images of the series exceed {options.max_decoded_bytes} bytes")
            images.append(image)
        except ImagingError as error:
            report(error, 1)
    return images


def _load_single(header: InstanceHeader, kind: Kind, options: LoadOptions) -> LoadedSeries:
    source = open_pixels(header, options.max_decoded_bytes, truncated_allowed="TRUNCATED_PIXELS" in options.allow)
    if kind == "capture":
        kind = _capture_kind(header, source)
    if kind == "fundus" or kind == "photograph":
        return load_photograph(header, source, options, kind)
    return load_radiograph(header, source, options)


def _capture_kind(header: InstanceHeader, source: PixelObject) -> Kind:
    if header.modality in _PHOTO_MODALITIES:
        return "fundus" if shows_an_eye(header) else "photograph"
    if header.modality not in _EITHER_MODALITIES or source.photometric.startswith("MONOCHROME"):
        return "radiograph"
    return "radiograph" if is_grey(rgb_of(source, frozenset())) else "fundus"


class _Refusals:
    """Collects refusals: one entry per reason, with the first one's detail and the number of instances."""

    def __init__(self, series_uid: str) -> None:
        self._series_uid = series_uid
        self._found: dict[str, tuple[str, int]] = {}

    def add(self, error: ImagingError, instances: int) -> None:
        detail, count = self._found.get(error.reason, (str(error), 0))
        self._found[error.reason] = (detail, count + instances)

    def all(self) -> tuple[Rejection, ...]:
        return tuple(
            Rejection(reason, detail, self._series_uid, count) for reason, (detail, count) in self._found.items()
        )
