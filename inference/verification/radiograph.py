"""Radiographs: alignment, then block-wise correlation of contrast-normalised detail (bones before all).

No training. A film is compared as :mod:`~inference.verification.radiograph_detail` leaves it: 128 x 128 elements, 8 KB.
The affine search takes place on 48 x 48, its best candidates are refined on 64 x 64, the best one on 128 x 128, where a
smooth bend follows breath and posture. The score is the mean correlation of 16 x 16 blocks after that, in Fisher's z,
weighted by how much detail both films show there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from inference.imaging.rejections import refuse
from inference.types import LoadedSeries
from inference.verification.picture_alignment import (
    Coefficients,
    Detail,
    Spectra,
    refine,
    sampled,
    search,
    spectra,
)
from inference.verification.picture_blocks import Agreement, agreement, overall
from inference.verification.picture_codec import check_stamp
from inference.verification.picture_overlay import fused
from inference.verification.picture_transform import pixel_matrix
from inference.verification.protocol import Template, Verification
from inference.verification.radiograph_detail import SIZE, detail_of, normalised, pack, shrunk, unpack

_COARSE, _COARSE_SMOOTH, _COARSE_NEIGHBOURHOOD, _COARSE_FLOOR = 48, 0.7, 0.07, 0.05
_MIDDLE, _MIDDLE_SMOOTH = 64, 1.0
_STARTS = 3
_BEND_DEGREE, _BEND_STIFFNESS = 3, 0.02
_ROUNDS = (8, 5, 6)
_BLOCKS = 8
_FULL_OVERLAP = 0.5
_SHOWN = (-2.0, 2.0)
_PREPARED = 32


@dataclass(frozen=True, slots=True)
class _Film:
    coarse: Spectra
    middle: Detail
    fine: Detail


@dataclass(frozen=True, slots=True)
class _Fit:
    """How ``moving`` lies on ``fixed``; ``seen`` is the moving film through the map."""

    mapped: Coefficients
    sign: float
    seen: Detail
    agreed: Agreement


class RadiographVerifier:
    """A :class:`~inference.verification.protocol.Verifier`."""

    name = "radiograph"
    version = "1"

    def accepts(self, image: LoadedSeries) -> bool:
        return image.kind == "radiograph"

    def template(self, image: LoadedSeries) -> Template | None:
        if not self.accepts(image) or image.pixels.ndim != 2:
            raise refuse("UNSUPPORTED_PHOTOMETRIC", "a radiograph of grey values is expected")
        detail = detail_of(image.pixels)
        if detail is None:
            return None
        return Template.of_picture(self, image, pack(detail))

    def score(self, probe: Template, reference: Template) -> float:
        first, second = sorted((self._data(probe), self._data(reference)))
        return _fit(_film(first), _film(second)).agreed.mean()

    def compare(self, probe: Template, reference: Template) -> Verification:
        data = self._data(probe), self._data(reference)
        # One order, whoever is the probe: the score is the same in both directions.
        first, second = sorted(data)
        moving, fixed = _film(first), _film(second)
        fit = _fit(moving, fixed)
        matrix = pixel_matrix(fit.mapped, SIZE)
        return Verification(
            score=fit.agreed.mean(),
            transform=np.asarray(np.linalg.inv(matrix) if data[0] == first else matrix, np.float64),
            overlay=fused(fit.seen, fixed.fine, _SHOWN, fit.agreed),
            details=_details(fit, matrix),
        )

    def _data(self, template: Template) -> bytes:
        check_stamp(template, self.name, self.version)
        return template.data


@lru_cache(maxsize=_PREPARED)
def _film(data: bytes) -> _Film:
    fine = unpack(data)
    coarse = shrunk(fine, _COARSE, _COARSE_SMOOTH)
    flat = normalised(coarse.values, coarse.weight, _COARSE_NEIGHBOURHOOD * _COARSE, _COARSE_FLOOR)
    return _Film(spectra(Detail(flat, coarse.weight)), shrunk(fine, _MIDDLE, _MIDDLE_SMOOTH), fine)


def _fit(moving: _Film, fixed: _Film) -> _Fit:
    """The best of the search's candidates, refined and judged."""
    best, sign, highest = None, 1.0, -np.inf
    for start in search(moving.coarse, fixed.coarse, _STARTS):
        signed = _signed(moving.middle, start.sign)
        mapped = refine(signed, fixed.middle, start.affine, 1, 0.0, _ROUNDS[0])
        alike = _overall(signed, fixed.middle, mapped)
        if alike > highest:
            best, sign, highest = mapped, start.sign, alike
    assert best is not None
    signed = _signed(moving.fine, sign)
    mapped = refine(signed, fixed.fine, best, 1, 0.0, _ROUNDS[1])
    mapped = refine(signed, fixed.fine, mapped, _BEND_DEGREE, _BEND_STIFFNESS, _ROUNDS[2])
    seen = sampled(signed, mapped, SIZE)
    return _Fit(mapped, sign, seen, agreement(seen, fixed.fine, _BLOCKS))


def _signed(detail: Detail, sign: float) -> Detail:
    return detail if sign > 0 else Detail(-detail.values, detail.weight)


def _overall(moving: Detail, fixed: Detail, mapped: Coefficients) -> float:
    """Correlation over all that overlaps, less where little does."""
    alike, share = overall(sampled(moving, mapped, fixed.values.shape[0]), fixed)
    return alike * min(1.0, share / _FULL_OVERLAP)


def _details(fit: _Fit, matrix: NDArray[np.float64]) -> dict[str, float]:
    """Figures for a reviewer; scale and rotation are those of the affine part, bend is in elements of 128."""
    counted = fit.agreed.weight > 0
    linear = matrix[:2, :2]
    bend = fit.mapped[3:] * (SIZE / 2)
    return {
        "overlap": fit.agreed.overlap,
        "blocks": float(counted.sum()),
        "blocks_agreeing": float((counted & (fit.agreed.correlation > 0.5)).sum()),
        "scale": float(np.sqrt(abs(np.linalg.det(linear)))),
        "rotation_degrees": float(np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))),
        "bend": float(np.sqrt((bend * bend).sum(axis=1).mean())) if len(bend) else 0.0,
        "inverted": float(fit.sign < 0),
    }
