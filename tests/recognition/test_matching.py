"""The decision: posteriors that are posteriors, and a LINK only when everything allows it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import CalibrationError
from config.settings import DemographicSettings, PolicySettings, load_settings
from inference.fusion import fuse_log10_lrs
from inference.matching import Outcome, PatientEvidence, Reason, contradictions, decide, policy_hash
from inference.types import PatientKey

POLICY = load_settings(environment={}).policy
LRS = st.floats(-8, 8)


def person(number: int) -> PatientKey:
    return PatientKey("H", f"{number:03d}")


def evidence(
    number: int, log10_lr: float, quality: float = 1.0, p_value: float = 1e-4, **more: object
) -> PatientEvidence:
    return PatientEvidence(person(number), {"one": log10_lr}, quality, p_values={"one": p_value}, **more)  # type: ignore[arg-type]


STRONG = evidence(1, 6.0)


@given(
    lrs=st.lists(LRS, max_size=12),
    others=st.integers(0, 10**6),
    bound=LRS,
    prior=st.floats(1e-6, 1 - 1e-6),
)
def test_posteriors_sum_to_one_with_nobody(lrs: list[float], others: int, bound: float, prior: float) -> None:
    policy = POLICY.model_copy(update={"prior_enrolled": prior})
    found = decide([evidence(n, lr) for n, lr in enumerate(lrs)], len(lrs) + others, policy, True, rest_log10_lr=bound)
    total = sum(item.posterior for item in found.ranked) + found.p_nobody + found.p_rest
    assert math.isclose(total, 1.0, rel_tol=1e-9)
    assert all(0 <= item.posterior <= 1 for item in found.ranked)


@given(lrs=st.lists(LRS, min_size=1, max_size=6), rise=st.floats(0, 4), others=st.integers(0, 1000))
def test_a_posterior_never_falls_when_its_evidence_rises(lrs: list[float], rise: float, others: int) -> None:
    def posterior(first: float) -> float:
        items = [evidence(0, first), *(evidence(n, lr) for n, lr in enumerate(lrs[1:], 1))]
        found = decide(items, len(items) + others, POLICY, True)
        return next(item.posterior for item in found.ranked if item.patient == person(0))

    assert posterior(lrs[0] + rise) >= posterior(lrs[0]) - 1e-12


@given(lrs=st.lists(LRS, min_size=1, max_size=6), rival=st.floats(-8, 8), others=st.integers(1, 1000))
def test_a_further_candidate_never_makes_a_link(lrs: list[float], rival: float, others: int) -> None:
    items = [evidence(n, lr) for n, lr in enumerate(lrs)]
    searched = len(items) + others
    before = decide(items, searched, POLICY, True, rest_log10_lr=-8.0)
    after = decide([*items, evidence(99, min(rival, max(lrs)))], searched, POLICY, True, rest_log10_lr=-8.0)
    if before.outcome is not Outcome.LINK:
        assert after.outcome is not Outcome.LINK


def test_bayes_against_the_formula() -> None:
    found = decide([evidence(1, 3.0), evidence(2, 1.0)], 10, POLICY, True, rest_log10_lr=-1.0)
    prior = POLICY.prior_enrolled
    terms = [prior / 10 * 1000, prior / 10 * 10, prior / 10 * 8 * 0.1, 1 - prior]
    assert found.ranked[0].posterior == pytest.approx(terms[0] / sum(terms), rel=1e-12)
    assert found.ranked[1].posterior == pytest.approx(terms[1] / sum(terms), rel=1e-12)
    assert found.p_rest == pytest.approx(terms[2] / sum(terms), rel=1e-12)
    assert found.p_nobody == pytest.approx(terms[3] / sum(terms), rel=1e-12)
    assert found.margin_log10 == pytest.approx(2.0)


def test_overwhelming_evidence_links() -> None:
    found = decide([STRONG, evidence(2, -1.0)], 50, POLICY, True, rest_log10_lr=-1.0)
    assert (found.outcome, found.best, found.reasons) == (Outcome.LINK, person(1), ())
    assert found.policy_hash == policy_hash(POLICY)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"link_posterior": 0.9999999}, Reason.POSTERIOR),
        ({"link_log10_lr": 6.5}, Reason.LIKELIHOOD_RATIO),
        ({"link_margin_log10": 6.5}, Reason.MARGIN),
        ({"fpir": 5e-5}, Reason.FALSE_POSITIVE),
    ],
)
def test_each_number_of_the_policy_alone_stops_a_link(changed: dict[str, float], reason: Reason) -> None:
    policy = POLICY.model_copy(update=changed)
    found = decide([STRONG, evidence(2, -1.0)], 50, policy, True, rest_log10_lr=-1.0)
    assert (found.outcome, found.reasons) == (Outcome.REVIEW, (reason,))


@pytest.mark.parametrize(
    ("best", "reason"),
    [
        (replace(STRONG, quality=POLICY.link_quality - 0.01), Reason.QUALITY),
        (replace(STRONG, contradictions=(Reason.SEX,)), Reason.SEX),
        (replace(STRONG, contradictions=(Reason.BIRTH_DATE,)), Reason.BIRTH_DATE),
        (replace(STRONG, calibrated=False), Reason.UNCALIBRATED),
        (replace(STRONG, p_values={}), Reason.FALSE_POSITIVE),
        (replace(STRONG, p_values={"one": 0.006, "other": 1.0}), Reason.FALSE_POSITIVE),
    ],
)
def test_each_flaw_of_the_evidence_alone_stops_a_link(best: PatientEvidence, reason: Reason) -> None:
    found = decide([best, evidence(2, -1.0)], 50, POLICY, True, rest_log10_lr=-1.0)
    assert (found.outcome, found.reasons) == (Outcome.REVIEW, (reason,))


@given(lrs=st.lists(st.floats(-8, 300), min_size=1, max_size=4))
def test_what_is_not_allowed_is_never_linked(lrs: list[float]) -> None:
    found = decide([evidence(n, lr) for n, lr in enumerate(lrs)], len(lrs), POLICY, False)
    assert found.outcome is not Outcome.LINK
    assert Reason.NOT_ALLOWED in found.reasons


def test_twins_go_to_review() -> None:
    found = decide([STRONG, evidence(2, 5.5)], 50, POLICY, True, rest_log10_lr=-2.0)
    assert found.outcome is Outcome.REVIEW
    assert Reason.MARGIN in found.reasons


def test_those_beyond_the_list_are_rivals_too() -> None:
    near = decide([STRONG], 100_000, POLICY, True, rest_log10_lr=4.5)
    far = decide([STRONG], 1_000, POLICY, True, rest_log10_lr=-2.0)
    assert near.outcome is Outcome.REVIEW
    assert {Reason.MARGIN, Reason.POSTERIOR} <= set(near.reasons)
    assert far.outcome is Outcome.LINK


def test_weak_evidence_in_a_large_gallery_is_no_match() -> None:
    found = decide([evidence(1, 1.0)], 10_000, POLICY, True)
    assert (found.outcome, found.best) == (Outcome.NO_MATCH, person(1))


def test_nobody_searched_is_no_match() -> None:
    found = decide([], 0, POLICY, True)
    assert (found.outcome, found.best, found.p_nobody) == (Outcome.NO_MATCH, None, 1.0)
    assert found.reasons == (Reason.NOBODY_SEARCHED,)


def test_uncalibrated_scores_are_ranked_and_reviewed_however_large_the_gallery() -> None:
    items = [PatientEvidence(person(n), {}, 1.0, score=n / 10, calibrated=False) for n in range(5)]
    found = decide(items, 100_000, POLICY, True)
    assert found.outcome is Outcome.REVIEW
    assert [item.patient for item in found.ranked] == [person(n) for n in (4, 3, 2, 1, 0)]
    assert Reason.UNCALIBRATED in found.reasons


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(CalibrationError):
        PatientEvidence(person(1), {"one": bad}, 1.0)
    with pytest.raises(CalibrationError):
        PatientEvidence(person(1), {"one": 1.0}, bad)
    with pytest.raises(CalibrationError):
        PatientEvidence(person(1), {"one": 1.0}, 1.0, score=bad)
    with pytest.raises(CalibrationError):
        decide([STRONG], 10, POLICY, True, rest_log10_lr=bad)


def test_one_patient_may_not_vote_twice() -> None:
    with pytest.raises(ValueError, match="once"):
        decide([STRONG, STRONG], 10, POLICY, True)
    with pytest.raises(ValueError, match="searched"):
        decide([STRONG], 0, POLICY, True)


@given(values=st.lists(LRS, max_size=5), index=st.integers(0, 4), rise=st.floats(0, 3), discount=st.floats(0, 1))
def test_fusion_never_falls_and_never_exceeds_independence(
    values: list[float], index: int, rise: float, discount: float
) -> None:
    fused = fuse_log10_lrs(values, discount)
    assert sum(min(value, 0) for value in values) - 1e-9 <= fused <= sum(max(value, 0) for value in values) + 1e-9
    if index < len(values):
        raised = [value + rise if n == index else value for n, value in enumerate(values)]
        assert fuse_log10_lrs(raised, discount) >= fused - 1e-9


def test_fusion_discounts_the_weaker() -> None:
    assert fuse_log10_lrs([3.0], 0.5) == pytest.approx(3.0)
    assert fuse_log10_lrs([3.0, 2.0], 0.5) == pytest.approx(4.0)
    assert fuse_log10_lrs([3.0, -2.0], 0.5) == pytest.approx(1.0)
    assert fuse_log10_lrs([3.0, 2.0], 0.0) == pytest.approx(3.0)
    assert fuse_log10_lrs([], 0.5) == 0.0


@pytest.mark.parametrize(
    ("probe", "known", "expected"),
    [
        (("F", "19500101"), ("F", "19500101"), ()),
        (("M", "19500101"), ("F", "19500101"), (Reason.SEX,)),
        (("F", "19500102"), ("F", "19500101"), (Reason.BIRTH_DATE,)),
        (("m ", "1950.01.02"), ("F", "19500101"), (Reason.SEX, Reason.BIRTH_DATE)),
        (("", ""), ("F", "19500101"), ()),
        (("O", "1950"), ("F", "19500101"), ()),
        (("F", "unknown!"), ("F", "19500101"), ()),
    ],
)
def test_contradictions(probe: tuple[str, str], known: tuple[str, str], expected: tuple[Reason, ...]) -> None:
    assert contradictions(*probe, *known) == expected
    assert contradictions(*known, *probe) == expected


def test_the_policy_hash_depends_on_values_alone() -> None:
    same = PolicySettings(**dict(reversed(list(POLICY.model_dump().items()))))
    assert policy_hash(same) == policy_hash(POLICY)
    for name, value in POLICY.model_dump().items():
        other = POLICY.model_copy(update={name: _changed(value)})
        assert policy_hash(other) != policy_hash(POLICY), name


def _changed(value: Any) -> Any:
    if isinstance(value, dict):
        return DemographicSettings(**value | {"sex_error": value["sex_error"] / 2})
    return value + 0.001 if isinstance(value, float) else value + "x"
