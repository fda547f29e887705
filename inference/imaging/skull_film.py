"""Bone on skull radiographs: scalp, face, neck and background taken away, so that what is compared is the skull.

Where to look is morphology, what to keep is contrast:

1. the head is the largest part above the lowest of Otsu's two thresholds, without markers and collimator;
2. bone is what lies above that threshold within the head, or stands out of its own surroundings as thin plates and
   rims do (white top-hat), and is no speck;
3. the soft tissue beside bone says, spread smoothly, how bright it is in front of and behind bone: that is subtracted.

Frontal and lateral films are treated alike. What lies over bone on the whole film (the brain) is smooth and goes the
same way; a collar or a tube that is as bright as bone stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.imaging.rejections import refuse
from inference.types import FloatArray

Mask = NDArray[np.bool_]

# The film is looked at with this longest edge; sizes below are shares of it.
_EDGE = 384
_SMOOTH, _RIM, _CLOSE, _SPREAD = 0.006, 0.025, 0.02, 0.05
# A head fills at least this share of a film of it.
_LEAST_HEAD = 0.08
# Parts of bone that are smaller than this share of the largest one are noise, or a marker.
_LEAST_PART = 0.01
# How far a rim stands out, in standard deviations of all that stands out.
_STANDS_OUT = 1.5
# Below this nothing is seen on a film.
_BLACK = 0.02
# What of the bone is white: brighter are fillings and screws.
_WHITE = 99.5


def bone_only(film: FloatArray) -> FloatArray:
    """The film with bone alone.

    Parameters
    ----------
    film
        float32 (rows, columns) in [0, 1], bone bright: a frontal or lateral skull radiograph.

    Returns
    -------
    FloatArray
        the same shape in [0, 1]: 0 where there is no bone, else how far it stands above soft tissue.

    Raises
    ------
    ImagingError
        ``NO_SURFACE`` when nothing on the film is as large as a head, or no bone is in it.
    """
    import cv2

    rows, columns = film.shape
    scale = min(1.0, _EDGE / max(rows, columns))
    shape = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    small = np.asarray(cv2.resize(film, shape, interpolation=cv2.INTER_AREA), np.float32)
    head = _head(small)
    bone = _bone(small, head)
    soft = _spread(small, head & ~_grown(bone, _CLOSE / 2))
    enlarged = (columns, rows)
    above = film - np.asarray(cv2.resize(soft, enlarged, interpolation=cv2.INTER_LINEAR), np.float32)
    inside = np.asarray(cv2.resize(bone.astype(np.float32), enlarged, interpolation=cv2.INTER_LINEAR), np.float32)
    white = float(np.percentile(above[inside > 0.5], _WHITE))
    if not white > 0:
        raise refuse("NO_SURFACE", "no bone stands out on the film")
    return np.asarray(np.clip(above / white, 0, 1) * inside, np.float32)


def _head(film: FloatArray) -> Mask:
    """The largest bright part, without holes."""
    from scipy.ndimage import binary_fill_holes

    smooth = _blurred(film, _SMOOTH)
    # A film that was exposed hard shows a vault as a ring: it is closed before what is narrow is cut off.
    body = _opened(np.asarray(binary_fill_holes(_closed(smooth > _lowest_of_three(smooth), _CLOSE)), bool), _CLOSE)
    labels, sizes = _parts(body)
    if not len(sizes) or sizes.max() < _LEAST_HEAD * film.size:
        raise refuse("NO_SURFACE", "nothing on the film is as large as a head")
    return np.asarray(labels == 1 + int(sizes.argmax()), bool)


def _bone(film: FloatArray, head: Mask) -> Mask:
    """What is bright for a head, or stands out of its surroundings, and hangs together."""
    from scipy.ndimage import binary_fill_holes

    smooth = _blurred(film, _SMOOTH)
    rim = head & ~_shrunk(head, _RIM)
    # Where bone is brighter along the outline than what lies within, the exposure has taken soft tissue away already.
    bare = float(np.median(smooth[rim])) > float(np.median(smooth[head]))
    level = smooth > (_BLACK if bare else _lowest_of_three(smooth[head]))
    rims = _white_top_hat(smooth, _RIM)
    standing = rims > rims[head].mean() + _STANDS_OUT * rims[head].std()
    # The head's own edge stands out as well: it is skin.
    found = head & (level | (standing & ~rim))
    found = _closed(found, _CLOSE) & head
    labels, sizes = _parts(found)
    if not len(sizes):
        raise refuse("NO_SURFACE", "no bone stands out on the film")
    large = 1 + np.flatnonzero(sizes >= _LEAST_PART * sizes.max())
    return np.asarray(binary_fill_holes(np.isin(labels, large)), bool)


def _spread(film: FloatArray, where: Mask) -> FloatArray:
    """The film's values ``where``, spread smoothly over all of it; their median where none is near."""
    if not where.any():
        return np.zeros_like(film)
    weight = where.astype(np.float32)
    usual, faith = np.float32(np.median(film[where])), np.float32(1e-3)
    total = _blurred(film * weight, _SPREAD) + faith * usual
    return np.asarray(total / (_blurred(weight, _SPREAD) + faith), np.float32)


def _lowest_of_three(values: NDArray[Any]) -> float:
    """Between soft tissue and the vault, where a third class is the dense base of the skull."""
    from skimage import filters

    otsu: Any = filters.threshold_multiotsu  # typed only in part
    try:
        return float(otsu(values, classes=3)[0])
    except ValueError:
        raise refuse("NO_SURFACE", "the film has too few greys to tell bone from anything") from None


def _blurred(film: FloatArray, share: float) -> FloatArray:
    import cv2

    return np.asarray(cv2.GaussianBlur(film, (0, 0), share * max(film.shape)), np.float32)


def _disc(film: NDArray[Any], share: float) -> NDArray[np.uint8]:
    import cv2

    edge = 2 * max(1, round(share * max(film.shape))) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (edge, edge)), np.uint8)


def _white_top_hat(film: FloatArray, share: float) -> FloatArray:
    import cv2

    return np.asarray(cv2.morphologyEx(film, cv2.MORPH_TOPHAT, _disc(film, share)), np.float32)


def _opened(mask: Mask, share: float) -> Mask:
    import cv2

    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _disc(mask, share)), bool)


def _closed(mask: Mask, share: float) -> Mask:
    import cv2

    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, _disc(mask, share)), bool)


def _grown(mask: Mask, share: float) -> Mask:
    import cv2

    return np.asarray(cv2.dilate(mask.astype(np.uint8), _disc(mask, share)), bool)


def _shrunk(mask: Mask, share: float) -> Mask:
    import cv2

    return np.asarray(cv2.erode(mask.astype(np.uint8), _disc(mask, share)), bool)


def _parts(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Labels of connected parts from 1, and their sizes."""
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return np.asarray(labels, np.int32), np.asarray(stats[1:count, cv2.CC_STAT_AREA], np.int64)
