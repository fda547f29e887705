"""From stored values to what a reader sees: modality LUT, padding, VOI, presentation, each once (PS3.3 C.11)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.imaging.pixels import PixelObject, value_of
from inference.imaging.rejections import refuse
from inference.types import FloatArray

# Beyond this the image is padding, or the value is none: real films keep at least a twentieth.
_MAX_PADDED = 0.95
_MAX_FACTOR = 1e9


def padding_mask(stored: NDArray[Any], source: PixelObject) -> NDArray[np.bool_]:
    """True where a stored value is padding: Pixel Padding Value, up to Range Limit (PS3.3 C.7.5.1.1.2).

    The value's VR follows Pixel Representation and is often written with the other sign, so it is compared modulo
    2 to the power of Bits Allocated. A padding that would leave next to nothing is taken for a mistake.
    """
    first = _padding_value(source, "PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, dtype=bool)
    last = _padding_value(source, "PixelPaddingRangeLimit")
    low, high = (first, first) if last is None else (min(first, last), max(first, last))
    mask: NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return mask if mask.mean() <= _MAX_PADDED else np.zeros(stored.shape, dtype=bool)


def _padding_value(source: PixelObject, keyword: str) -> int | None:
    value = source.get(keyword)
    if not isinstance(value, int):
        return None
    span = 1 << source.bits_allocated
    wrapped = value % span
    return wrapped - span if source.signed and wrapped >= span // 2 else wrapped


def rescale_of(source: PixelObject, *, required: bool, allowed: bool) -> tuple[float, float]:
    """(slope, intercept) of the object.

    Raises
    ------
    ImagingError
        ``BAD_RESCALE`` when a value is no usable number, or both are absent though ``required``.
    """
    return check_rescale(source.get("RescaleSlope"), source.get("RescaleIntercept"), required, allowed)


def check_rescale(slope: Any, intercept: Any, required: bool, allowed: bool) -> tuple[float, float]:
    """The pair as numbers; the identity where both are absent and not required, or where bad ones are allowed."""
    if slope in (None, "") and intercept in (None, "") and not required:
        return 1.0, 0.0
    numbers = _number(slope), _number(intercept)
    if numbers[0] and numbers[1] is not None:
        return numbers[0], numbers[1]
    if allowed:
        return 1.0, 0.0
    raise refuse("BAD_RESCALE", "rescale slope or intercept is missing, zero or no number")


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and abs(number) < _MAX_FACTOR else None


def modality_values(stored: NDArray[Any], source: PixelObject, *, rescale_allowed: bool) -> FloatArray:
    """Modality LUT or rescale (PS3.3 C.11.1), float32."""
    table = _lookup(source, "ModalityLUTSequence")
    if table is not None:
        return _apply_lookup(stored, *table).astype(np.float32)
    slope, intercept = rescale_of(source, required=False, allowed=rescale_allowed)
    return stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def voi_values(values: FloatArray, source: PixelObject) -> FloatArray:
    """VOI LUT, or else the first window (PS3.3 C.11.2); the values themselves where there is neither.

    The result is monotonous in the values but its scale is arbitrary: :func:`unit_range` follows.
    """
    table = _lookup(source, "VOILUTSequence")
    if table is not None:
        return _apply_lookup(values, *table).astype(np.float32)
    centre, width = _number(_first(source.get("WindowCenter"))), _number(_first(source.get("WindowWidth")))
    if centre is None or width is None:
        return values
    return window(values, centre, width, str(source.get("VOILUTFunction") or "LINEAR").strip().upper())


def window(values: FloatArray, centre: float, width: float, function: str) -> FloatArray:
    """Window of PS3.3 C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID) and C.11.2.1.3.2 (LINEAR_EXACT), onto [0, 1].

    A width that the function does not allow leaves the values as they are.
    """
    if function == "SIGMOID" and width > 0:
        # The exponent is clipped because its exponential would overflow; beyond it the result is 0 or 1 anyway.
        exponent = np.clip(-4.0 * (values - centre) / width, -60.0, 60.0)
        return np.asarray(1.0 / (1.0 + np.exp(exponent)), dtype=np.float32)
    if function == "LINEAR_EXACT" and width > 0:
        return _clipped((values - centre) / width + 0.5)
    if function not in ("SIGMOID", "LINEAR_EXACT") and width >= 1:
        if width == 1:
            return (values > centre - 0.5).astype(np.float32)
        return _clipped((values - (centre - 0.5)) / (width - 1.0) + 0.5)
    return values


def is_inverted(source: PixelObject) -> bool:
    """Whether low values are to be shown white: once, however many attributes say so.

    MONOCHROME1 (PS3.3 C.7.6.3.1.2) and Presentation LUT Shape INVERSE (C.8.11.3.1.2, C.11.6) state the same
    inversion: DX requires the two together. MONOCHROME1 beside IDENTITY is a contradiction; photometric
    interpretation then decides, because it is the one that every object has to have.
    """
    shape = str(source.get("PresentationLUTShape") or "").strip().upper()
    return source.photometric == "MONOCHROME1" or shape == "INVERSE"


def unit_range(values: FloatArray, valid: NDArray[np.bool_], low: float = 0.5, high: float = 99.5) -> FloatArray | None:
    """Values scaled so that the given percentiles of the valid ones meet 0 and 1; None where they are all equal."""
    sample = values[valid]
    if sample.size == 0:
        return None
    bottom, top = (float(value) for value in np.percentile(sample, (low, high)))
    if not top > bottom:
        bottom, top = float(sample.min()), float(sample.max())
    if not top > bottom:
        return None
    return _clipped((values - bottom) / (top - bottom))


def _clipped(values: NDArray[Any]) -> FloatArray:
    return np.asarray(np.clip(values, 0.0, 1.0), dtype=np.float32)


def _first(value: Any) -> Any:
    if isinstance(value, str) or not hasattr(value, "__getitem__"):
        return value
    return value[0] if len(value) else None


def _lookup(source: PixelObject, keyword: str) -> tuple[int, FloatArray] | None:
    """(first value mapped, table) of the first item of a LUT sequence (PS3.3 C.11.1.1), None where it is unusable."""
    items = source.get(keyword)
    if not items:
        return None
    descriptor, data = value_of(items[0], "LUTDescriptor"), value_of(items[0], "LUTData")
    try:
        entries, first, bits = (int(value) for value in descriptor)
        entries = entries or 65536
        if isinstance(data, bytes):
            wide = len(data) >= 2 * entries
            table = np.frombuffer(data[: 2 * entries if wide else entries], dtype="<u2" if wide else np.uint8)
        else:
            table = np.asarray(data if data is not None else (), dtype=np.float64).ravel()[:entries]
    except (TypeError, ValueError):
        return None
    if table.size < 2 or table.size != entries or not 1 <= bits <= 16:
        return None
    if source.signed and first >= 32768:
        first -= 65536
    return first, table.astype(np.float32)


def _apply_lookup(values: NDArray[Any], first: int, table: FloatArray) -> FloatArray:
    index = np.clip(np.rint(np.asarray(values, dtype=np.float32)) - first, 0, table.size - 1).astype(np.int64)
    mapped: FloatArray = table[index]
    return mapped
