"""Fundus photographs of one eye: vessel key points with a robust model, then a smooth refinement of the vessel maps.

No training. Similarities through matched bifurcations and crossings nominate; each is refined on the vessel maps
themselves (affine, then quadratic: the retina is curved; A. Can et al., TPAMI 2002), and the best one is judged by the
correlation of the vessel maps over the field that both photographs show. Which eye it is counts for nothing: a person's
other eye has other vessels, and labels of laterality are wrong now and then.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from inference.imaging.rejections import refuse
from inference.types import FloatArray, LoadedSeries
from inference.verification.fundus_points import Points, key_points, models
from inference.verification.fundus_vessels import SIZE, pack, unpack, vessels_of
from inference.verification.picture_alignment import Coefficients, Detail, refine, sampled
from inference.verification.picture_blocks import Agreement, agreement, overall
from inference.verification.picture_codec import check_stamp
from inference.verification.picture_overlay import fused
from inference.verification.picture_transform import pixel_matrix
from inference.verification.protocol import Template, Verification

_MODELS = 3
_SOFT, _SOFTER, _SLOW = 0.7, 1.7, 8.0
_ROUNDS = (5, 6)
_BEND_STIFFNESS = 0.02
# Below this share of the square a common field says less.
_FULL_OVERLAP = 0.2
_BLOCKS = 9
_SHOWN = (-0.4, 2.5)
_PREPARED = 64
_NOWHERE = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


@dataclass(frozen=True, slots=True)
class _Eye:
    points: Points
    soft: Detail
    fine: Detail


@dataclass(frozen=True, slots=True)
class _Fit:
    """How ``moving`` lies on ``fixed``; ``seen`` is the moving vessel map through the map."""

    score: float
    mapped: Coefficients
    seen: Detail
    overlap: float
    matches: int
    inliers: int


class FundusVerifier:
    """A :class:`~inference.verification.protocol.Verifier`."""

    name = "fundus"
    version = "1"

    def accepts(self, image: LoadedSeries) -> bool:
        return image.kind == "fundus"

    def template(self, image: LoadedSeries) -> Template | None:
        if not self.accepts(image) or image.pixels.dtype != np.uint8 or image.pixels.ndim != 3:
            raise refuse("UNSUPPORTED_PHOTOMETRIC", "a fundus photograph of 8-bit RGB is expected")
        vessels = vessels_of(image.pixels)
        if vessels is None:
            return None
        return Template.of_picture(self, image, pack(vessels))

    def score(self, probe: Template, reference: Template) -> float:
        first, second = sorted((self._data(probe), self._data(reference)))
        return _fit(_eye(first), _eye(second)).score

    def compare(self, probe: Template, reference: Template) -> Verification:
        data = self._data(probe), self._data(reference)
        # One order, whoever is the probe: the score is the same in both directions.
        first, second = sorted(data)
        moving, fixed = _eye(first), _eye(second)
        fit = _fit(moving, fixed)
        matrix = pixel_matrix(fit.mapped, SIZE)
        agreed: Agreement = agreement(fit.seen, fixed.fine, _BLOCKS)
        return Verification(
            score=fit.score,
            transform=np.asarray(np.linalg.inv(matrix) if data[0] == first else matrix, np.float64),
            overlay=fused(fit.seen, fixed.fine, _SHOWN, agreed),
            details={
                "overlap": fit.overlap,
                "matches": float(fit.matches),
                "inliers": float(fit.inliers),
                "blocks": float((agreed.weight > 0).sum()),
                "blocks_agreeing": float(((agreed.weight > 0) & (agreed.correlation > 0.5)).sum()),
                "scale": float(np.sqrt(abs(np.linalg.det(matrix[:2, :2])))),
            },
        )

    def _data(self, template: Template) -> bytes:
        check_stamp(template, self.name, self.version)
        return template.data


@lru_cache(maxsize=_PREPARED)
def _eye(data: bytes) -> _Eye:
    vessels = unpack(data)
    fine = _centred(vessels)
    return _Eye(key_points(vessels), Detail(_smooth(fine.values, _SOFTER), fine.weight), fine)


def _centred(vessels: Detail) -> Detail:
    """The vessel map less its mean in the neighbourhood, so that plenty of vessels alone do not correlate."""
    soft, weight = _smooth(vessels.values, _SOFT), vessels.weight
    mean = _smooth(soft * weight, _SLOW) / (_smooth(weight, _SLOW) + np.float32(1e-3))
    return Detail((soft - mean) * weight, weight)


def _fit(moving: _Eye, fixed: _Eye) -> _Fit:
    found, matches = models(moving.points, fixed.points, _MODELS)
    best, inliers, highest = _NOWHERE, 0, -np.inf
    for model in found:
        mapped = refine(moving.soft, fixed.soft, model.affine, 1, 0.0, _ROUNDS[0])
        alike, share = overall(sampled(moving.fine, mapped, SIZE), fixed.fine)
        if alike * min(1.0, share / _FULL_OVERLAP) > highest:
            best, inliers, highest = mapped, model.inliers, alike * min(1.0, share / _FULL_OVERLAP)
    if not found:
        return _Fit(0.0, best, sampled(moving.fine, best, SIZE), 0.0, matches, 0)
    mapped = refine(moving.fine, fixed.fine, best, 2, _BEND_STIFFNESS, _ROUNDS[1])
    seen = sampled(moving.fine, mapped, SIZE)
    alike, share = overall(seen, fixed.fine)
    score = float(np.clip(alike * min(1.0, share / _FULL_OVERLAP), 0.0, 1.0))
    return _Fit(score, mapped, seen, share, matches, inliers)


def _smooth(values: FloatArray, sigma: float) -> FloatArray:
    import cv2

    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)
