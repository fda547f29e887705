"""From calibrated evidence to a decision: Bayes over the candidates *and* "nobody", then a versioned policy.

With a prior pi that the patient is enrolled, spread evenly over the N patients searched, and likelihood ratios
LR_i against "not enrolled"::

    P(i | e) = pi/N LR_i / [ (1 - pi) + pi/N sum_j LR_j ]        P(nobody | e) = (1 - pi) / same

Patients that were searched but are on no candidate list take part in the sum too, each with the likelihood ratio of
having stayed below the last candidate of the list.

The posterior is as good as the prior and the model. So a link needs besides that non-mated searches seldom bring such a
candidate (FPIR, :mod:`inference.calibration.open_set`), whatever the prior, and a lead over everybody else.

Some sources may put a patient before a person's eyes and never link by themselves (``review_only``): what they say
counts, but a link needs that all the others, without them, point to the same patient.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from config.errors import CalibrationError
from config.settings import PolicySettings
from inference.calibration.open_set import bonferroni
from inference.fusion import Fusion
from inference.types import PatientKey

# The entry of sex, birth date and the like among the log LRs; all others are of images.
DEMOGRAPHICS = "demographics"


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
    FALSE_POSITIVE = "FALSE_POSITIVE_RATE_ABOVE_POLICY"
    MARGIN = "MARGIN_BELOW_POLICY"
    QUALITY = "QUALITY_BELOW_POLICY"
    SEX = "SEX_CONTRADICTS"
    BIRTH_DATE = "BIRTH_DATE_CONTRADICTS"
    NOT_ALLOWED = "AUTOMATIC_LINK_NOT_ALLOWED"
    REVIEW_ONLY = "REVIEW_ONLY_EVIDENCE"


@dataclass(frozen=True, slots=True)
class PatientEvidence:
    """All that speaks for one candidate patient.

    log10_lrs
        per source (what an encoder or verifier compared, and :data:`DEMOGRAPHICS`), the calibrated log10 likelihood
        ratio "same patient" against "not enrolled".
    quality
        of the probe as the encoders see it, in [0, 1].
    score
        the best raw score; it only orders candidates that the calibrated evidence cannot tell apart.
    contradictions
        what :func:`contradictions` found; they block a link and change no posterior.
    calibrated
        False when a score behind this evidence has no calibration: then neither LINK nor NO_MATCH can be said.
    p_values
        per source that was searched, the share of non-mated searches of that size which bring a candidate as strong;
        1 where the patient was not seen, or nobody knows. Without any, nothing is linked.

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
    p_values: Mapping[str, float] = field(default_factory=dict)

    @property
    def p_value(self) -> float:
        """Share of non-mated searches that bring anybody this strong from any of the sources."""
        return bonferroni(list(self.p_values.values()))

    def __post_init__(self) -> None:
        _require_finite("evidence", (*self.log10_lrs.values(), *self.p_values.values(), self.quality, self.score))
        if not 0.0 <= self.quality <= 1.0:
            raise CalibrationError(f"quality {self.quality} is not in [0, 1]; repair the encoder", reason="NOT_FINITE")


@dataclass(frozen=True, slots=True)
class RankedCandidate:
    """One line of the worklist. ``log10_lr`` is all evidence fused, ``image_log10_lr`` that of the images alone."""

    patient: PatientKey
    posterior: float
    log10_lr: float
    image_log10_lr: float
    p_value: float
    log10_lrs: Mapping[str, float]
    score: float
    contradictions: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What the evidence amounts to under one policy.

    ``posterior``, ``log10_lr`` and ``margin_log10`` belong to the best candidate (0 where there is none); the margin is
    its lead over the runner-up, or over "nobody" (log10 LR 0) where that is the stronger rival. ``p_value`` is the
    share of searches for people who are not enrolled that bring anybody as strong; a LINK needs ``fpir`` or less.
    The posteriors of ``ranked``, ``p_nobody`` and ``p_rest`` (some searched patient that is no candidate) sum to 1.
    """

    outcome: Outcome
    best: PatientKey | None
    posterior: float
    p_nobody: float
    p_rest: float
    log10_lr: float
    margin_log10: float
    p_value: float
    fpir: float
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
    rest_mean_log10_lr: float | None = None,
    fusion: Fusion | None = None,
    review_only: Collection[str] = (),
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
        upper bound of the log10 LR of every searched patient that is no candidate: a rival of the best.
    rest_mean_log10_lr
        log10 of their mean LR, which their share of the posterior comes from; the bound where it is not known.
    fusion
        how the sources of evidence go together.
    review_only
        names of sources that may not bring a link about: without them the images must still speak for the best
        candidate, for nobody more, and as seldom of strangers as the policy asks.
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
    mean = rest_log10_lr if rest_mean_log10_lr is None else min(rest_mean_log10_lr, rest_log10_lr)
    _require_finite("the mean of the other patients", (mean,))
    fusion = fusion or Fusion()
    images = [_of_images(item, fusion, policy.correlation_discount) for item in evidence]
    fused = [image + item.log10_lrs.get(DEMOGRAPHICS, 0.0) for image, item in zip(images, evidence, strict=True)]
    rest = searched - len(evidence)
    posteriors, p_nobody, p_rest = _bayes(fused, rest, mean, searched, policy.prior_enrolled)
    order = sorted(range(len(evidence)), key=lambda i: (-fused[i], -evidence[i].score, evidence[i].patient))
    ranked = tuple(
        RankedCandidate(
            patient=evidence[i].patient,
            posterior=posteriors[i],
            log10_lr=fused[i],
            image_log10_lr=images[i],
            p_value=evidence[i].p_value,
            log10_lrs=dict(evidence[i].log10_lrs),
            score=evidence[i].score,
            contradictions=evidence[i].contradictions,
        )
        for i in order
    )
    best = evidence[order[0]] if order else None
    margin = _margin([item.log10_lr for item in ranked], rest, rest_log10_lr)
    reasons = _reasons(best, ranked, margin, policy, auto_allowed)
    if best is not None and not _stands_without(review_only, best, evidence, fusion, policy):
        reasons = (*reasons, Reason.REVIEW_ONLY)
    return Decision(
        outcome=_outcome(ranked, p_nobody, reasons, policy),
        best=best.patient if best else None,
        posterior=ranked[0].posterior if ranked else 0.0,
        p_nobody=p_nobody,
        p_rest=p_rest,
        log10_lr=ranked[0].log10_lr if ranked else 0.0,
        margin_log10=margin,
        p_value=ranked[0].p_value if ranked else 1.0,
        fpir=policy.fpir,
        quality=best.quality if best else 0.0,
        searched=searched,
        ranked=ranked,
        reasons=reasons,
        policy=policy.name,
        policy_hash=policy_hash(policy),
        notes=tuple(notes),
    )


def _of_images(evidence: PatientEvidence, fusion: Fusion, discount: float) -> float:
    return fusion.log10_lr(
        {name: value for name, value in evidence.log10_lrs.items() if name != DEMOGRAPHICS}, discount
    )


def _stands_without(
    review_only: Collection[str],
    best: PatientEvidence,
    evidence: Sequence[PatientEvidence],
    fusion: Fusion,
    policy: PolicySettings,
) -> bool:
    """Whether the other sources name the best candidate too; where there are no review-only ones, they do."""
    if not any(name in review_only for item in evidence for name in (*item.log10_lrs, *item.p_values)):
        return True
    others = {item.patient: _without(review_only, item) for item in evidence}
    worth = {who: _of_images(item, fusion, policy.correlation_discount) for who, item in others.items()}
    own = worth[best.patient]
    return own > 0 and own >= max(worth.values()) and others[best.patient].p_value <= policy.fpir


def _without(sources: Collection[str], evidence: PatientEvidence) -> PatientEvidence:
    return replace(
        evidence,
        log10_lrs={name: value for name, value in evidence.log10_lrs.items() if name not in sources},
        p_values={name: value for name, value in evidence.p_values.items() if name not in sources},
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
        # Names and dates may stop a link or break a tie; it is the images that must prove it.
        Reason.LIKELIHOOD_RATIO: min(ranked[0].log10_lr, ranked[0].image_log10_lr) < policy.link_log10_lr,
        Reason.FALSE_POSITIVE: best.p_value > policy.fpir,
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
