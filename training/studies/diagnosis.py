"""A label read from features by logistic regression, and what that reading is worth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from training.evaluation.bootstrap import weighted_mean
from training.evaluation.table import Bools, Codes, Floats

# Inverse strengths of regularisation, of which persons left out in turn choose one.
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_FOLDS = 5


def diagnose(features: Floats, labels: Codes, patients: Codes, judged: Floats, seed: int) -> Floats:
    """Log odds (m,) of the label for ``judged`` (m, F), by what is fitted on ``features`` (n, F) with ``labels`` (n,).

    Both values of the label weigh the same. How much is regularised follows from ``patients`` left out in turn.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=5000))
    folds = _folds(labels, patients)
    if folds < 2:
        return np.asarray(
            model.set_params(logisticregression__C=_STRENGTHS[1]).fit(features, labels).decision_function(judged)
        )
    search = GridSearchCV(
        model,
        {"logisticregression__C": _STRENGTHS},
        scoring="roc_auc",
        cv=StratifiedGroupKFold(folds, shuffle=True, random_state=seed),
    )
    return np.asarray(search.fit(features, labels, groups=patients).decision_function(judged), np.float64)


def _folds(labels: Codes, patients: Codes) -> int:
    """As many parts of the patients as can each have both values of the label."""
    return min(_FOLDS, *(len(np.unique(patients[labels == value])) for value in (0, 1)))


class DiagnosisStatistic:
    """Accuracy, balanced accuracy and AUC of log odds (n,) against labels (n,) of 0 and 1: a
    :class:`training.evaluation.bootstrap.Statistic`."""

    def __init__(self, labels: Codes, scores: Floats) -> None:
        self._positive: Bools = labels == 1
        self._right = ((scores > 0) == self._positive).astype(np.float64)
        ours, others = scores[self._positive][:, None], scores[~self._positive][None, :]
        # (P, N): a positive above a negative; half for a tie.
        self._above = (ours > others) + 0.5 * (ours == others)

    def exact(self) -> Mapping[str, float]:
        return {name: float(value[0]) for name, value in self.drawn(np.ones((1, len(self._right)))).items()}

    def drawn(self, weights: Floats) -> Mapping[str, Floats]:
        ill, well = weights[:, self._positive], weights[:, ~self._positive]
        with np.errstate(divide="ignore", invalid="ignore"):
            auc = ((ill @ self._above) * well).sum(axis=1) / (ill.sum(axis=1) * well.sum(axis=1))
        each = [weighted_mean(weights, self._right, part) for part in (self._positive, ~self._positive)]
        everybody = np.ones(len(self._right), bool)
        return {
            "accuracy": weighted_mean(weights, self._right, everybody),
            "balanced accuracy": np.asarray((each[0] + each[1]) / 2),
            "AUC": np.asarray(auc),
        }
