"""The slices of a CT or MR series, one record each, whether they came as single objects or as multi-frame ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from inference.imaging.geometry import Plane, make_plane
from inference.imaging.labels import image_type
from inference.imaging.options import LoadOptions
from inference.imaging.pixels import PixelObject, open_pixels, value_of
from inference.imaging.quiet import quiet
from inference.imaging.rejections import refuse
from inference.types import InstanceHeader


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice. ``variants`` are what may tell slices at the same position apart, most telling first."""

    header: InstanceHeader
    frame: int
    plane: Plane
    rows: int
    columns: int
    kernel: str
    localizer: bool
    variants: tuple[Any, ...]
    rank: tuple[float, float, float]
    slope: Any = None
    intercept: Any = None
    source: PixelObject | None = None


def slices_of(header: InstanceHeader, options: LoadOptions) -> list[Slice]:
    """The slices of one object.

    Raises
    ------
    ImagingError
        ``NO_PIXELS``, ``NO_GEOMETRY``, ``MULTIFRAME_UNSUPPORTED``, or what :func:`open_pixels` raises.
    """
    if min(header.attributes.get("Rows") or 0, header.attributes.get("Columns") or 0) < 1:
        raise refuse("NO_PIXELS", "the object has no rows and columns")
    if (header.attributes.get("NumberOfFrames") or 1) > 1 or header.attributes.get("ImagePositionPatient") is None:
        return _from_frames(header, options)
    return [_from_object(header)]


def _from_object(header: InstanceHeader) -> Slice:
    attributes = header.attributes
    plane = make_plane(
        attributes.get("ImagePositionPatient"),
        attributes.get("ImageOrientationPatient"),
        attributes.get("PixelSpacing"),
    )
    if plane is None:
        raise refuse("NO_GEOMETRY", "image position, orientation or pixel spacing is missing or not usable")
    kinds = image_type(header)
    return Slice(
        header=header,
        frame=0,
        plane=plane,
        rows=int(attributes["Rows"]),
        columns=int(attributes["Columns"]),
        kernel="\\".join(attributes.get("ConvolutionKernel") or ()),
        localizer="LOCALIZER" in kinds,
        variants=(
            attributes.get("AcquisitionNumber"),
            attributes.get("EchoTime"),
            kinds,
            attributes.get("AcquisitionTime"),
            attributes.get("ContentTime"),
        ),
        rank=(_number(attributes.get("AcquisitionNumber")), _number(attributes.get("InstanceNumber")), 0.0),
    )


def _from_frames(header: InstanceHeader, options: LoadOptions) -> list[Slice]:
    """Frames of an Enhanced or Legacy Converted object (PS3.3 C.7.6.16)."""
    source = open_pixels(header, options.max_decoded_bytes, truncated_allowed="TRUNCATED_PIXELS" in options.allow)
    with quiet():
        shared = _item(source.get("SharedFunctionalGroupsSequence"))
        frames = source.get("PerFrameFunctionalGroupsSequence")
        if not isinstance(frames, Sequence) or len(frames) < 1:
            if source.frames == 1:
                raise refuse("NO_GEOMETRY", "image position, orientation or pixel spacing is missing or not usable")
            raise refuse("MULTIFRAME_UNSUPPORTED", f"{source.frames} frames without functional groups")
        return [
            _from_groups(header, source, index, shared, frame) for index, frame in enumerate(frames[: source.frames])
        ]


def _from_groups(
    header: InstanceHeader, source: PixelObject, index: int, shared: Dataset | None, frame: Dataset
) -> Slice:
    def group(name: str) -> Dataset | None:
        return _item(value_of(frame, name)) or _item(value_of(shared, name) if shared is not None else None)

    def value(name: str, keyword: str) -> Any:
        found = group(name)
        return None if found is None else value_of(found, keyword)

    plane = make_plane(
        _list(value("PlanePositionSequence", "ImagePositionPatient")),
        _list(value("PlaneOrientationSequence", "ImageOrientationPatient")),
        _list(value("PixelMeasuresSequence", "PixelSpacing")),
    )
    if plane is None:
        raise refuse("NO_GEOMETRY", f"frame {index + 1} has no usable position, orientation or spacing")
    frame_type = value("CTImageFrameTypeSequence", "FrameType") or value("MRImageFrameTypeSequence", "FrameType")
    kinds = tuple(str(kind) for kind in _list(frame_type) or image_type(header))
    return Slice(
        header=header,
        frame=index,
        plane=plane,
        rows=source.rows,
        columns=source.columns,
        kernel=str(value("CTReconstructionSequence", "ConvolutionKernel") or ""),
        localizer="LOCALIZER" in kinds,
        variants=(
            _plain(value("FrameContentSequence", "FrameAcquisitionNumber")),
            _plain(value("MREchoSequence", "EffectiveEchoTime")),
            kinds,
            _plain(value("FrameContentSequence", "TemporalPositionIndex")),
            _plain(value("FrameContentSequence", "StackID")),
        ),
        rank=(0.0, _number(header.attributes.get("InstanceNumber")), float(index)),
        slope=value("PixelValueTransformationSequence", "RescaleSlope"),
        intercept=value("PixelValueTransformationSequence", "RescaleIntercept"),
        source=source,
    )


def _item(sequence: Any) -> Dataset | None:
    return (
        sequence[0] if isinstance(sequence, Sequence) and len(sequence) and isinstance(sequence[0], Dataset) else None
    )


def _list(values: Any) -> list[Any] | None:
    return None if values is None or isinstance(values, str) else list(values) if hasattr(values, "__iter__") else None


def _plain(value: Any) -> int | float | str:
    """A value that can be compared and hashed, whatever the file made of it."""
    return value if isinstance(value, int | float) else str(value)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("inf")
