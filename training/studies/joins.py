"""Two encoders' embeddings made comparable by a linear map that is learnt from persons whom both have seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from config.errors import CommandError
from inference.types import FloatArray
from training.evaluation.table import Codes, Floats
from training.studies.paired import unit

RIDGE, CCA = "ridge", "cca"
JOINS = (RIDGE, CCA)
_STRENGTHS = (1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
_FOLDS = 5
# Canonical variates of more dimensions than people are perfect and worthless: at most so many, and so many a person.
_MOST_VARIATES, _MOST_COMPONENTS, _PERSONS_A_COMPONENT = 32, 128, 3


class Join(Protocol):
    """Embeddings of probes (n, Dp) and of gallery images (m, Dg) into one space, L2-normalised: (n, D) and (m, D)."""

    def probes(self, vectors: FloatArray) -> FloatArray: ...

    def gallery(self, vectors: FloatArray) -> FloatArray: ...


def fitted(kind: str, probes: FloatArray, gallery: FloatArray, persons: Codes) -> Join:
    """Learns from pairs: row i of ``probes`` (n, Dp) and of ``gallery`` (n, Dg) are of ``persons[i]``.

    Raises
    ------
    CommandError
        ``TOO_FEW_PERSONS`` with fewer than two persons.
    """
    if len(np.unique(persons)) < 2:
        raise CommandError(
            "a map between two kinds of image is fitted on two persons or more", reason="TOO_FEW_PERSONS"
        )
    ours, theirs = probes.astype(np.float64), gallery.astype(np.float64)
    return _Ridge.fit(ours, theirs, persons) if kind == RIDGE else _Canonical.fit(ours, theirs, persons)


@dataclass(frozen=True, slots=True, eq=False)
class _Ridge:
    """Gallery embeddings predicted from probes' by ridge regression; what is the same for all is taken out of both."""

    weights: Floats
    probe_mean: Floats
    gallery_mean: Floats

    @classmethod
    def fit(cls, probes: Floats, gallery: Floats, persons: Codes) -> _Ridge:
        from sklearn.linear_model import Ridge
        from sklearn.model_selection import GridSearchCV, GroupKFold

        means = probes.mean(axis=0), gallery.mean(axis=0)
        folds = GroupKFold(min(_FOLDS, len(np.unique(persons))))
        # Embeddings are of unit length: as strengths in proportion to the number of pairs, these mean the same for all.
        strengths = {"alpha": [strength * len(probes) / probes.shape[1] for strength in _STRENGTHS]}
        search = GridSearchCV(Ridge(fit_intercept=False), strengths, scoring="neg_mean_squared_error", cv=folds)
        found = search.fit(probes - means[0], gallery - means[1], groups=persons).best_estimator_
        return cls(np.asarray(found.coef_, np.float64).reshape(gallery.shape[1], -1).T, *means)

    def probes(self, vectors: FloatArray) -> FloatArray:
        return unit((vectors - self.probe_mean) @ self.weights)

    def gallery(self, vectors: FloatArray) -> FloatArray:
        return unit(vectors - self.gallery_mean)


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """Principal components, then canonical variates, each weighed by the correlation that it has."""

    mean: Floats
    weights: Floats

    def __call__(self, vectors: FloatArray) -> FloatArray:
        return unit((vectors - self.mean) @ self.weights)


@dataclass(frozen=True, slots=True, eq=False)
class _Canonical:
    """Canonical correlation analysis (H. Hotelling, Biometrika 28, 1936) of the principal components of both sides."""

    probes: _Side
    gallery: _Side

    @classmethod
    def fit(cls, probes: Floats, gallery: Floats, persons: Codes) -> _Canonical:
        from sklearn import cross_decomposition, decomposition

        most = max(1, min(_MOST_COMPONENTS, len(np.unique(persons)) // _PERSONS_A_COMPONENT))
        parts = [decomposition.PCA(min(most, *side.shape), svd_solver="full").fit(side) for side in (probes, gallery)]
        reduced = [part.transform(side) for part, side in zip(parts, (probes, gallery), strict=True)]
        count = min(_MOST_VARIATES, *(side.shape[1] for side in reduced))
        found = cross_decomposition.CCA(count, max_iter=5000, tol=1e-4).fit(*reduced)
        variates = found.transform(*reduced)
        strength = np.maximum([_correlation(*pair) for pair in zip(variates[0].T, variates[1].T, strict=True)], 0.0)
        sides = []
        for part, side, rotation in zip(parts, reduced, (found.x_rotations_, found.y_rotations_), strict=True):
            scaled = rotation / np.maximum(side.std(axis=0, ddof=1), 1e-12)[:, None]
            sides.append(_Side(np.asarray(part.mean_, np.float64), part.components_.T @ (scaled * strength)))
        return cls(*sides)


def _correlation(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> float:
    deviation = float(ours.std() * theirs.std())
    return float(((ours - ours.mean()) * (theirs - theirs.mean())).mean() / deviation) if deviation > 0 else 0.0
