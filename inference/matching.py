"""From calibrated evidence to a decision: Bayes over the candidates *and* "nobody", then a versioned policy.

With a prior pi that the patient is enrolled, spread evenly over the N patients searched, and likelihood ratios
LR_i against "not enrolled"::

    P(i | e) = pi/N LR_i / [ (1 - pi) + pi/N sum_j LR_j ]        P(nobody | e) = (1 - pi) / same

Patients that were searched but are on no candidate list take part in the sum too, each with the largest
likelihood ratio that the last candidate of the list leaves them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from config.errors import CalibrationError
from config.settings import PolicySettings
from inference.types import PatientKey


class Outcome(StrEnum):
    LINK = "LINK"
    REVIEW = "REVIEW"
    NO_MATCH = "NO_MATCH"


class Reason(StrEnum):
    """Why a decision is no LINK. A LINK has none of them."""

    NOBODY_SEARCHED = "NOBODY_SEARCHED"
    UNCALIBRATED = "UNCALIBRATED"
    POSTERIOR = "POSTERIOR_BELOW_POLICY"
    LIKELIHOOD_RATIO = "LIKELIHOOD_RATIO_BELOW_POLICY"
    MARGIN = "MARGIN_BELOW_POLICY"
    QUALITY = "QUALITY_BELOW_POLICY"
    SEX = "SEX_CONTRADICTS"
    BIRTH_DATE = "BIRTH_DATE_CONTRADICTS"
    NOT_ALLOWED = "AUTOMATIC_LINK_NOT_ALLOWED"


@dataclass(frozen=True, slots=True)
class PatientEvidence:
    """All that speaks for one candidate patient.

    log10_lrs
        per encoder, the calibrated log10 likelihood ratio "same patient" against "not enrolled".
    quality
        of the probe as the encoders see it, in [0, 1].
    score
        the best raw score; it only orders candidates that the calibrated evidence cannot tell apart.
    contradictions
        what :func:`contradictions` found; they block a link and change no posterior.
    calibrated
        False when a score behind this evidence has no calibration: then neither LINK nor NO_MATCH can be said.

    Raises
    ------
    CalibrationError
        ``NOT_FINITE`` for a number that is NaN, infinite or out of range.
    """

    patient: PatientKey
    log10_lrs: Mapping[str, float]
    quality: float
    score: float = 0.0
    contradictions: tuple[Reason, ...] = ()
    calibrated: bool = True

    def __post_init__(self) -> None:
        _require_finite("evidence", (*self.log10_lrs.values(), self.quality, self.score))
        if not 0.0 <= self.quality <= 1.0:
            raise CalibrationError(f"quality {self.quality} is not in [0, 1]; repair the encoder", reason="NOT_FINITE")


@dataclass(frozen=True, slots=True)
class RankedCandidate:
    """One line of the worklist. ``log10_lr`` is the fused evidence of all encoders."""

    patient: PatientKey
    posterior: float
    log10_lr: float
    log10_lrs: Mapping[str, float]
    score: float
    contradictions: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What the evidence amounts to under one policy.

    ``posterior``, ``log10_lr`` and ``margin_log10`` belong to the best candidate (0 where there is none); the margin is
    its lead over the runner-up, or over "nobody" (log10 LR 0) where that is the stronger rival.
    The posteriors of ``ranked``, ``p_nobody`` and ``p_rest`` (some searched patient that is no candidate) sum to 1.
    """

    outcome: Outcome
    best: PatientKey | None
    posterior: float
    p_nobody: float
    p_rest: float
    log10_lr: float
    margin_log10: float
    quality: float
    searched: int
    ranked: tuple[RankedCandidate, ...]
    reasons: tuple[Reason, ...]
    policy: str
    policy_hash: str
    notes: tuple[str, ...] = field(default=())


def policy_hash(policy: PolicySettings) -> str:
    """SHA-256 (hex) over the policy's canonical JSON: equal policies have equal hashes on every machine."""
    text = json.dumps(policy.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def fuse_log10_lrs(values: Iterable[float], discount: float) -> float:
    """One log10 likelihood ratio from those of several encoders that looked at the same person.

    Independent evidence would add up; two looks at one body on one day are not independent. So the strongest value
    *for* counts in full and every further one only by ``discount``, and the same *against*. The result is continuous
    and never falls when a value rises.
    """
    numbers = [float(value) for value in values]
    _require_finite("log10 likelihood ratios", numbers)
    favour = [value for value in numbers if value > 0]
    against = [value for value in numbers if value < 0]
    strongest_for, strongest_against = max(favour, default=0.0), min(against, default=0.0)
    return (1 - discount) * (strongest_for + strongest_against) + discount * (sum(favour) + sum(against))


def contradictions(
    probe_sex: str, probe_birth_date: str, patient_sex: str, patient_birth_date: str
) -> tuple[Reason, ...]:
    """Demographics that cannot belong to one person. Missing values, and sexes other than M and F, are neutral.

    Birth dates are DICOM DA text; one that is not eight digits says nothing.
    """
    found = []
    if {probe_sex.strip().upper(), patient_sex.strip().upper()} == {"M", "F"}:
        found.append(Reason.SEX)
    dates = [text.strip().replace(".", "") for text in (probe_birth_date, patient_birth_date)]
    if all(len(date) == 8 and date.isascii() and date.isdigit() for date in dates) and dates[0] != dates[1]:
        found.append(Reason.BIRTH_DATE)
    return tuple(found)


def decide(
    evidence: Sequence[PatientEvidence],
    searched: int,
    policy: PolicySettings,
    auto_allowed: bool,
    *,
    rest_log10_lr: float = 0.0,
    notes: Sequence[str] = (),
) -> Decision:
    """LINK, REVIEW or NO_MATCH for one orphan study.

    Parameters
    ----------
    evidence
        one entry per candidate patient, in any order.
    searched
        number of patients in the galleries that were searched, candidates included.
    auto_allowed
        whether a link may be made at all (trusted calibration, no operator's stop). False never links.
    rest_log10_lr
        upper bound of the log10 LR of every searched patient that is no candidate.
    notes
        named remarks of the caller, kept with the decision.

    Raises
    ------
    CalibrationError
        ``NOT_FINITE`` when a number is NaN or infinite.
    ValueError
        when a patient occurs twice or fewer patients were searched than are candidates.
    """
    _require_finite("the bound for the other patients", (rest_log10_lr,))
    if len({item.patient for item in evidence}) != len(evidence):
        raise ValueError("each candidate patient may bring evidence once; merge it first")
    if searched < len(evidence):
        raise ValueError(f"{len(evidence)} candidates out of {searched} searched patients cannot be")
    fused = [fuse_log10_lrs(item.log10_lrs.values(), policy.correlation_discount) for item in evidence]
    rest = searched - len(evidence)
    posteriors, p_nobody, p_rest = _bayes(fused, rest, rest_log10_lr, searched, policy.prior_enrolled)
    order = sorted(range(len(evidence)), key=lambda i: (-fused[i], -evidence[i].score, evidence[i].patient))
    ranked = tuple(
        RankedCandidate(
            patient=evidence[i].patient,
            posterior=posteriors[i],
            log10_lr=fused[i],
            log10_lrs=dict(evidence[i].log10_lrs),
            score=evidence[i].score,
            contradictions=evidence[i].contradictions,
        )
        for i in order
    )
    best = evidence[order[0]] if order else None
    margin = _margin([item.log10_lr for item in ranked], rest, rest_log10_lr)
    reasons = _reasons(best, ranked, margin, policy, auto_allowed)
    return Decision(
        outcome=_outcome(ranked, p_nobody, reasons, policy),
        best=best.patient if best else None,
        posterior=ranked[0].posterior if ranked else 0.0,
        p_nobody=p_nobody,
        p_rest=p_rest,
        log10_lr=ranked[0].log10_lr if ranked else 0.0,
        margin_log10=margin,
        quality=best.quality if best else 0.0,
        searched=searched,
        ranked=ranked,
        reasons=reasons,
        policy=policy.name,
        policy_hash=policy_hash(policy),
        notes=tuple(notes),
    )


def _bayes(
    log10_lrs: Sequence[float], rest: int, rest_log10_lr: float, searched: int, prior: float
) -> tuple[list[float], float, float]:
    """Posteriors of the candidates, of nobody, and of the rest together; in logarithms, so that nothing overflows."""
    ln10 = math.log(10)
    if searched == 0:
        return [], 1.0, 0.0
    each = math.log(prior) - math.log(searched)
    terms = [each + ln10 * value for value in log10_lrs]
    terms.append(math.log1p(-prior))
    terms.append(each + math.log(rest) + ln10 * rest_log10_lr if rest else -math.inf)
    weights = np.exp(np.asarray(terms) - max(terms))
    shares = (weights / weights.sum()).tolist()
    return shares[:-2], shares[-2], shares[-1]


def _margin(ranked_log10_lrs: Sequence[float], rest: int, rest_log10_lr: float) -> float:
    if not ranked_log10_lrs:
        return 0.0
    rivals = [0.0, *ranked_log10_lrs[1:2], *([rest_log10_lr] if rest else [])]
    return ranked_log10_lrs[0] - max(rivals)


def _reasons(
    best: PatientEvidence | None,
    ranked: Sequence[RankedCandidate],
    margin: float,
    policy: PolicySettings,
    auto_allowed: bool,
) -> tuple[Reason, ...]:
    if best is None:
        return (Reason.NOBODY_SEARCHED,)
    failed = {
        Reason.UNCALIBRATED: not best.calibrated,
        Reason.POSTERIOR: ranked[0].posterior < policy.link_posterior,
        Reason.LIKELIHOOD_RATIO: ranked[0].log10_lr < policy.link_log10_lr,
        Reason.MARGIN: margin < policy.link_margin_log10,
        Reason.QUALITY: best.quality < policy.link_quality,
        Reason.NOT_ALLOWED: not auto_allowed,
    }
    return (*(reason for reason, holds in failed.items() if holds), *best.contradictions)


def _outcome(
    ranked: Sequence[RankedCandidate], p_nobody: float, reasons: Sequence[Reason], policy: PolicySettings
) -> Outcome:
    if not ranked:
        return Outcome.NO_MATCH
    if not reasons:
        return Outcome.LINK
    # Without a calibration "not enrolled" is as unfounded as a link; nor is it said while it is improbable itself, as
    # when many searched patients share what speaks for being enrolled.
    unsure = Reason.UNCALIBRATED in reasons or p_nobody < policy.review_posterior
    # A person's look pays when the list as a whole is likely enough to hold the patient.
    if unsure or sum(item.posterior for item in ranked) >= policy.review_posterior:
        return Outcome.REVIEW
    return Outcome.NO_MATCH


def _require_finite(what: str, values: Iterable[float]) -> None:
    if not all(math.isfinite(value) for value in values):
        raise CalibrationError(f"{what} holds NaN or an infinite value and is refused", reason="NOT_FINITE")
