"""All figures of one trial."""

from __future__ import annotations

import numpy as np

from training.evaluation.bootstrap import Estimates, Statistic, Trials
from training.evaluation.closed_set import ClosedSetStatistic, closed_set
from training.evaluation.figures import Figure, Likelihood, Measures, ReliabilityBin
from training.evaluation.likelihood import Evidence, LikelihoodStatistic
from training.evaluation.open_set import FixedThresholdStatistic, OpenSetStatistic, open_set
from training.evaluation.options import Options
from training.evaluation.table import Codes, Floats
from training.evaluation.trial import Trial
from training.evaluation.verification import VerificationStatistic, verification

_TIPPETT_POINTS = 200


def measure(
    trial: Trial,
    thresholds: Floats,
    options: Options,
    *,
    evidence: Evidence | None = None,
    supported: int | None = None,
) -> Measures:
    """Figures and their intervals.

    Parameters
    ----------
    thresholds
        (F,) of the FPIRs asked for.
    supported
        how many non-mated searches have set the thresholds. None says that they are this trial's own: then they are
        drawn anew with the patients. Otherwise they are one system's, held fixed, and FPIR is a figure of the group.
    """
    compare = VerificationStatistic(trial.mate, trial.compared, trial.counts, options.fmrs)
    statistics: dict[str, Statistic] = {
        "closed": ClosedSetStatistic(trial, options),
        "verification": compare,
        "fixed": FixedThresholdStatistic(trial, thresholds, options),
    }
    if supported is None:
        statistics["open"] = OpenSetStatistic(trial, options)
    judge = LikelihoodStatistic(evidence) if evidence is not None else None
    if judge is not None:
        statistics["likelihood"] = judge
    estimates = Estimates(trial.patient, statistics, options)
    searches = int(trial.searched.sum()) if supported is None else supported
    return Measures(
        probes=len(trial),
        patients=len(np.unique(trial.patient)),
        closed_set=closed_set(trial, estimates, options),
        verification=verification(compare, trial, estimates, options),
        open_set=open_set(trial, thresholds, searches, estimates, options),
        likelihood=_likelihood(judge, evidence, trial.patient, estimates)
        if judge is not None and evidence is not None
        else None,
    )


def _likelihood(judge: LikelihoodStatistic, evidence: Evidence, patients: Codes, estimates: Estimates) -> Likelihood:
    mated = np.sort(evidence.mated[~np.isnan(evidence.mated)])
    others = np.sort(evidence.nonmated[~np.isnan(evidence.nonmated)])

    trials = Trials.among(patients, ~np.isnan(evidence.mated))

    def figure(name: str) -> Figure:
        return estimates.figure(f"likelihood.{name}", trials, missing="mated or non-mated comparisons are missing")

    return Likelihood(
        method=evidence.method,
        mated=len(mated),
        nonmated=len(others),
        nonmated_total=int(evidence.compared.sum()),
        cllr=figure("cllr"),
        min_cllr=figure("min cllr"),
        calibration_loss=figure("loss"),
        ece=figure("ece"),
        supported=float(np.log10(len(others) + 1)),
        largest_mated=float(mated[-1]) if len(mated) else -np.inf,
        largest_nonmated=float(others[-1]) if len(others) else -np.inf,
        tippett=_tippett(mated, others),
        reliability=_reliability(judge, len(evidence.mated)),
    )


def _tippett(mated: Floats, others: Floats) -> tuple[tuple[float, float, float], ...]:
    if not len(mated) or not len(others):
        return ()
    steps = np.linspace(min(mated[0], others[0]), max(mated[-1], others[-1]), _TIPPETT_POINTS)
    shares = [1 - np.searchsorted(values, steps, side="left") / len(values) for values in (mated, others)]
    return tuple(zip(steps.tolist(), *(share.tolist() for share in shares), strict=True))


def _reliability(judge: LikelihoodStatistic, probes: int) -> tuple[ReliabilityBin, ...]:
    share, posterior, mass = (values[0] for values in judge.bins(np.ones((1, probes))))
    return tuple(
        ReliabilityBin(float(p / m), float(s / m), float(m))
        for s, p, m in zip(share, posterior, mass, strict=True)
        if m > 0
    )
