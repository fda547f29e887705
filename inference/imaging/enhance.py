"""Enhancement of 8-bit pictures before a network sees them: grey, CLAHE, Gaussian, Canny overlay, local contrast.

A chain is written as the names of its steps in the order in which they act, each with its parameters where they differ
from the defaults: ``("grey", "clahe:clip=3,tiles=8", "gaussian:sigma=0.8", "canny")``. The empty chain changes nothing.

========================  ==============================  ====================================================
step                      parameters (default)            what it does
========================  ==============================  ====================================================
``grey``                  none                            luma (ITU-R BT.601) in all three channels
``clahe``                 ``clip`` (2), ``tiles`` (8)     K. Zuiderveld, "Contrast limited adaptive histogram
                                                          equalization", Graphics Gems IV (1994); of colour, its
                                                          lightness alone
``gaussian``              ``sigma`` (1, pixels)           smoothing
``canny``                 ``low`` (80), ``high`` (160),   edges (J. Canny, PAMI 8, 1986) drawn in white over the
                          ``opacity`` (0.35)              picture
``local-contrast``        ``share`` (0.06 of the shorter  less the local mean, over the local spread: exposure and
                          side), ``floor`` (4 levels)     body mass go, ribs and vessels stay; noise below
                                                          ``floor`` is not raised
========================  ==============================  ====================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

# Levels per standard deviation after local contrast normalisation: three of them reach from mid-grey to white.
_LEVELS_PER_DEVIATION = 42.0


def parse_chain(steps: Sequence[str]) -> Callable[[Picture], Picture]:
    """The function that applies the steps in order to a uint8 (H, W, 3) RGB picture and returns one of that shape.

    Raises
    ------
    ValueError
        naming the step, or the parameter, that is unknown or out of range.
    """
    chain = [_parsed(step) for step in steps]

    def enhance(picture: Picture) -> Picture:
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise ValueError(f"enhancement takes uint8 (H, W, 3), not {picture.dtype} {picture.shape}")
        for function, values in chain:
            picture = function(picture, **values)
        return picture

    return enhance


@dataclass(frozen=True, slots=True)
class _Number:
    default: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class _Step:
    apply: Callable[..., Picture]
    numbers: Mapping[str, _Number] = field(default_factory=dict)


def _parsed(text: str) -> tuple[Callable[..., Picture], dict[str, float]]:
    name, _, rest = text.partition(":")
    if name not in STEPS:
        raise ValueError(f"there is no enhancement {name!r}; there are: {', '.join(STEPS)}")
    numbers = STEPS[name].numbers
    values = {key: number.default for key, number in numbers.items()}
    for item in rest.split(",") if rest else ():
        key, _, value = (part.strip() for part in item.partition("="))
        if key not in numbers:
            raise ValueError(f"enhancement {name!r} has no {key!r}; it has: {', '.join(numbers) or 'no parameters'}")
        values[key] = _in_range(name, key, value, numbers[key])
    return STEPS[name].apply, values


def _in_range(name: str, key: str, text: str, number: _Number) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"enhancement {name!r}: {key} is {text!r}, which is no number") from None
    if not number.lowest <= value <= number.highest:
        raise ValueError(f"enhancement {name!r}: {key} is {text}; it goes from {number.lowest} to {number.highest}")
    return value


def _grey(picture: Picture) -> Picture:
    import cv2

    return _thrice(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))


def _clahe(picture: Picture, clip: float, tiles: float) -> Picture:
    import cv2

    equalise = cv2.createCLAHE(clipLimit=clip, tileGridSize=(round(tiles), round(tiles)))
    if _is_grey(picture):
        return _thrice(equalise.apply(np.ascontiguousarray(picture[..., 0])))
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    lab[..., 0] = equalise.apply(np.ascontiguousarray(lab[..., 0]))
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


def _gaussian(picture: Picture, sigma: float) -> Picture:
    import cv2

    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)


def _canny(picture: Picture, low: float, high: float, opacity: float) -> Picture:
    import cv2

    edges = cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), min(low, high), max(low, high)) > 0
    drawn = picture.copy()
    drawn[edges] = np.rint(picture[edges] + opacity * (255.0 - picture[edges])).astype(np.uint8)
    return drawn


def _local_contrast(picture: Picture, share: float, floor: float) -> Picture:
    import cv2

    sigma = max(share * min(picture.shape[:2]), 1.0)
    values = picture.astype(np.float32)
    centred = values - cv2.GaussianBlur(values, (0, 0), sigma)
    spread = np.sqrt(cv2.GaussianBlur(centred * centred, (0, 0), sigma))
    normal = centred / (spread + np.float32(floor))
    return np.asarray(np.clip(np.rint(127.5 + _LEVELS_PER_DEVIATION * normal), 0, 255), np.uint8)


def _is_grey(picture: Picture) -> bool:
    return bool((picture[..., 0] == picture[..., 1]).all() and (picture[..., 0] == picture[..., 2]).all())


def _thrice(grey: NDArray[Any]) -> Picture:
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, axis=2)


STEPS: dict[str, _Step] = {
    "grey": _Step(_grey),
    "clahe": _Step(_clahe, {"clip": _Number(2.0, 0.1, 40.0), "tiles": _Number(8, 1, 32)}),
    "gaussian": _Step(_gaussian, {"sigma": _Number(1.0, 0.1, 20.0)}),
    "canny": _Step(
        _canny,
        {"low": _Number(80, 0, 1000), "high": _Number(160, 0, 1000), "opacity": _Number(0.35, 0.0, 1.0)},
    ),
    "local-contrast": _Step(_local_contrast, {"share": _Number(0.06, 0.005, 0.5), "floor": _Number(4.0, 0.1, 128.0)}),
}
