"""From an image in calibrated units to what a network sees. Training and serving share this one path.

Everything is decided by the :class:`InputSpec` that stands in a bundle's ``[input]`` or in a recipe, and by the image;
nothing is drawn by chance. The border is cut off before anything is scaled, so that no marker bleeds inwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import inf, isfinite
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from config.errors import EncoderError, ImagingError
from inference.imaging.enhance import parse_chain
from inference.types import LoadedSeries

Fit = Literal["crop", "letterbox", "stretch"]
Window = tuple[float, float]

# What of an MR volume is black and white, in percent of its values: its units mean nothing between scanners.
MR_PERCENTILES = (1.0, 99.5)
# Where the grey of one picture ends; wider, because it may well be mostly background.
_PLAIN_PERCENTILES = (0.5, 99.9)
# A photograph's brightest tenth times this is where the camera's field of view ends; below _BLACK it always does. What
# is lit but smaller than this share of the photograph is a reflection, and no field.
_DARK, _BLACK, _SMALLEST_FIELD = 0.12, 4.0, 0.1


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How images become network input; it stands in the bundle because a change makes a new version.

    size
        edge of the network's input in pixels.
    crop
        share of each side that is cut off a radiograph: markers, collimator edges and the format of the film are
        properties of the machine, not of the patient.
    fit
        ``crop``: the central square, scaled; ``letterbox``: all of it with its aspect, black where nothing is (the
        aspect of a film is the machine's too: see ``crop``); ``stretch``: scaled to the square.
    slices, span
        how many slices of a volume, spread evenly over this central share of it; a shorter volume repeats some.
    windows
        (centre, width) in HU for CT: one, as grey, or three, as the channels. MR goes by percentiles of the volume.
    enhance
        steps of :mod:`inference.imaging.enhance`, applied to the scaled picture.
    plain
        every image alike, whatever it is said to be: no border cut, no field of view, no units, grey by percentiles of
        its own. For a network that has to tell kinds of image apart and must not be told.
    """

    size: int = 224
    crop: float = 0.0
    fit: Fit = "crop"
    slices: int = 1
    span: float = 0.5
    windows: tuple[Window, ...] = ((40.0, 400.0),)
    enhance: tuple[str, ...] = ()
    plain: bool = False

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 1024:
            raise ValueError(f"size is {self.size}; it goes from 16 to 1024")
        if not 0 <= self.crop <= 0.4:
            raise ValueError(f"crop is {self.crop}; it goes from 0 to 0.4")
        if self.fit not in get_args(Fit):
            raise ValueError(f"fit is {self.fit!r}; it is one of {', '.join(get_args(Fit))}")
        if not (1 <= self.slices <= 64 and 0 < self.span <= 1):
            raise ValueError("slices go from 1 to 64, and span is more than 0 and at most 1")
        if len(self.windows) not in (1, 3) or not all(isfinite(c) and 0 < width < inf for c, width in self.windows):
            raise ValueError("windows are one or three pairs (centre, width) in HU, with widths above 0")
        parse_chain(self.enhance)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> InputSpec:
        """The spec of a TOML table; what it leaves out has its default.

        Raises
        ------
        EncoderError
            ``INPUT_SPEC``, naming the key that is unknown or cannot be used.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise EncoderError(f"[input] has no key {', '.join(unknown)}", reason="INPUT_SPEC")
        try:
            known = dict(values)
            if "windows" in known:
                known["windows"] = tuple((float(centre), float(width)) for centre, width in known["windows"])
            if "enhance" in known:
                known["enhance"] = tuple(known["enhance"])
            return cls(**known)
        except (TypeError, ValueError) as error:
            raise EncoderError(f"[input] cannot be used: {error}", reason="INPUT_SPEC") from None

    def to_mapping(self) -> dict[str, Any]:
        """Plain numbers, texts and lists: what TOML holds, and :meth:`from_mapping` takes."""
        values = asdict(self)
        return values | {"windows": [list(window) for window in self.windows], "enhance": list(self.enhance)}


def prepare(image: LoadedSeries, spec: InputSpec) -> NDArray[np.uint8]:
    """uint8 (T, 3, size, size): RGB planes of an image, T 1 but for volumes, which have ``spec.slices``.

    Raises
    ------
    ImagingError
        ``NOT_FINITE`` when a pixel is NaN or infinite, ``NO_PIXELS`` when there is none.
    """
    require_pixels(image)
    enhance = parse_chain(spec.enhance)
    # Enhanced before the padding, whose edge is no part of the picture.
    planes = [_padded(enhance(_scaled(plane, spec.size, spec.fit)), spec.size) for plane in _planes(image, spec)]
    return np.ascontiguousarray(np.stack(planes).transpose(0, 3, 1, 2))


def require_pixels(image: LoadedSeries) -> None:
    """Raises the ImagingError of :func:`prepare` where an image cannot be used at all."""
    if not image.pixels.size:
        raise ImagingError("the image has no pixels", reason="NO_PIXELS")
    if not np.isfinite(image.pixels).all():
        raise ImagingError("some pixels are not finite (NaN or infinite)", reason="NOT_FINITE")


def is_flat(image: LoadedSeries) -> bool:
    """Whether all pixels have one value, so that there is nothing to encode."""
    return bool(image.pixels.max() <= image.pixels.min())


def spread(count: int, wanted: int, span: float) -> list[int]:
    """``wanted`` indices of ``count`` slices, even over the central ``span``; repeated where there are too few."""
    chosen = np.linspace(0.5 - span / 2, 0.5 + span / 2, wanted) if wanted > 1 else np.array([0.5])
    return [int(index) for index in (chosen * (count - 1)).round()]


def without_border(pixels: NDArray[Any], share: float) -> NDArray[Any]:
    """The picture without ``share`` of each side; a view."""
    rows, columns = (int(side * share) for side in pixels.shape[:2])
    return pixels[rows : pixels.shape[0] - rows, columns : pixels.shape[1] - columns]


def grey_bytes(pixels: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """uint8 of the same shape: ``low`` is black, ``high`` white, and what is beyond is clipped."""
    values = (np.asarray(pixels, np.float32) - low) / max(high - low, 1e-6)
    return np.asarray(np.clip(values * 255, 0, 255).round(), np.uint8)


def resized(plane: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """Scaled to (rows, columns): areas are averaged where it shrinks, so that nothing is aliased."""
    import cv2

    shrinks = plane.shape[0] > rows and plane.shape[1] > columns
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(plane, (columns, rows), interpolation=how), np.uint8)


def field_of_view(photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A fundus photograph (rows, columns, 3) cut to the box of what the camera's aperture lets through; a view.

    How wide a black frame a camera stores says which camera it is. Where nothing stands out, the picture stays whole.
    """
    import cv2

    bright = np.ascontiguousarray(photograph.max(axis=2))
    level = max(_DARK * float(np.quantile(bright, 0.9)), _BLACK)
    lit = np.asarray(cv2.medianBlur(bright, 5) > level, np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(lit)
    if count < 2:
        return photograph
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    left, top, width, height, area = (int(value) for value in stats[largest])
    if area < _SMALLEST_FIELD * bright.size:
        return photograph
    return photograph[top : top + height, left : left + width]


def _planes(image: LoadedSeries, spec: InputSpec) -> list[NDArray[np.uint8]]:
    """uint8 (rows, columns, 3) planes before scaling."""
    if spec.plain:
        return _plain(image, spec)
    if image.kind == "volume":
        return _slices(image, spec)
    if image.kind == "radiograph":
        return [_channels([grey_bytes(without_border(image.pixels, spec.crop), 0.0, 1.0)])]
    colour = np.asarray(image.pixels, np.uint8)
    return [field_of_view(colour) if image.kind == "fundus" else colour]


def _plain(image: LoadedSeries, spec: InputSpec) -> list[NDArray[np.uint8]]:
    if image.kind != "volume" and image.pixels.ndim == 3:
        return [np.asarray(image.pixels, np.uint8)]
    volume = image.pixels if image.kind == "volume" else image.pixels[None]
    greys = [volume[n] for n in (spread(len(volume), spec.slices, spec.span) if image.kind == "volume" else (0,))]
    limits = [np.percentile(grey, _PLAIN_PERCENTILES) for grey in greys]
    return [_channels([grey_bytes(grey, float(a), float(b))]) for grey, (a, b) in zip(greys, limits, strict=True)]


def _slices(image: LoadedSeries, spec: InputSpec) -> list[NDArray[np.uint8]]:
    if image.modality == "CT":
        limits = [(centre - width / 2, centre + width / 2) for centre, width in spec.windows]
    else:
        low, high = np.percentile(image.pixels, MR_PERCENTILES)
        limits = [(float(low), float(high))]
    chosen = spread(len(image.pixels), spec.slices, spec.span)
    return [_channels([grey_bytes(image.pixels[n], low, high) for low, high in limits]) for n in chosen]


def _channels(greys: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """uint8 (rows, columns, 3) of one plane, repeated, or of three."""
    return np.stack(greys * (3 // len(greys)), axis=2)


def _scaled(plane: NDArray[np.uint8], size: int, fit: Fit) -> NDArray[np.uint8]:
    """At most (size, size, 3); smaller on one side only where ``fit`` is ``letterbox``."""
    rows, columns = plane.shape[:2]
    if fit == "letterbox":
        longest = max(rows, columns)
        return resized(plane, max(1, round(size * rows / longest)), max(1, round(size * columns / longest)))
    if fit == "crop":
        side = min(rows, columns)
        top, left = (rows - side) // 2, (columns - side) // 2
        plane = plane[top : top + side, left : left + side]
    return resized(plane, size, size)


def _padded(plane: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """In the middle of a black square."""
    rows, columns = size - plane.shape[0], size - plane.shape[1]
    return np.pad(plane, ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0)))
