"""What a study's searches amount to: one statistic per patient, every encoder asked about every candidate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from config.errors import CalibrationError, GalleryError
from config.settings import load_settings
from inference.calibration import Calibration, Pair, fit_calibration
from inference.calibration.open_set import fit_open_set
from inference.demographics import Demographics, DemographicWeights
from inference.evidence import Evidence, GeometricEvidence, gather_evidence, geometric_evidence, with_verification
from inference.gallery.faiss_gallery import FaissGallery
from inference.gallery.protocol import GalleryEntry
from inference.matching import Outcome, Reason, decide
from inference.types import Encoding, PatientIdentity, PatientKey

POLICY = load_settings(environment={}).policy
DIMENSION = 32


def who(number: int) -> PatientKey:
    return PatientKey("H", f"{number:03d}")


def vector(*parts: tuple[int, float]) -> np.ndarray:
    values = np.zeros(DIMENSION, np.float32)
    for axis, value in parts:
        values[axis] = value
    rest = 1 - float(values @ values)
    values[-1] += np.sqrt(max(rest, 0.0))
    return values


def probe(parts: np.ndarray, encoder: str = "a", quality: float = 1.0, **known: Any) -> Encoding:
    values = {"modality": "CT", "study_uid": "9.9"} | known
    return Encoding(encoder=encoder, version="1", series_uid="9.9.1", vector=parts, quality=quality, **values)


def gallery(rows: list[tuple[int, np.ndarray]], encoder: str = "a", **known: str) -> FaissGallery:
    made = FaissGallery(encoder, "1", DIMENSION)
    made.enrol([GalleryEntry(n, who(p), f"1.{n}", v, modality="CT", **known) for n, (p, v) in enumerate(rows)])
    return made


def calibrated(encoder: str = "a", version: str = "1", scope: str = "site") -> Calibration:
    """Mates near 0.9, others near 0.1."""
    rng = np.random.default_rng(3)
    others = rng.normal(0.1, 0.1, 60_000)
    searches = np.repeat(np.arange(300), 200)
    guard = fit_open_set(others, searches, searches)
    assert guard is not None
    return fit_calibration(
        rng.normal(0.9, 0.05, 300),
        others,
        open_set={"": guard},
        encoder=encoder,
        version=version,
        scope=scope,  # type: ignore[arg-type]
        fitted_on="a test",
        patients=300,
    )


def gather(
    encodings: list[Encoding],
    galleries: dict[str, FaissGallery],
    calibrations: dict[str, Calibration | None],
    **more: Any,
) -> Evidence:
    return gather_evidence(
        encodings, galleries, calibrations, **({"candidates": 20, "trusted_scopes": ("site",)} | more)
    )


AXES = [(n, vector((n, 1.0))) for n in range(10)]


def test_a_clear_mate_is_linked() -> None:
    found = gather([probe(vector((3, 0.95)))], {"a": gallery(AXES)}, {"a": calibrated()})
    assert (found.searched, found.trusted, found.notes) == (10, True, ())
    decision = decide(found.patients, found.searched, POLICY, found.trusted, rest_log10_lr=found.rest_log10_lr)
    assert (decision.outcome, decision.best) == (Outcome.LINK, who(3))
    assert found.references[who(3)]["a:CT/"].study_uid == "1.3"


def test_the_best_of_several_enrolled_studies_and_of_several_series_counts() -> None:
    rows = [(1, vector((1, 1.0))), (1, vector((2, 1.0))), (2, vector((3, 1.0)))]
    found = gather(
        [probe(vector((2, 0.9))), probe(vector((5, 0.9)), quality=0.2)], {"a": gallery(rows)}, {"a": calibrated()}
    )
    best = next(item for item in found.patients if item.patient == who(1))
    assert best.score == pytest.approx(0.9)
    assert best.log10_lrs["a:CT/"] == pytest.approx(calibrated().log10_lr(0.9).item())
    assert best.quality == 1.0


def test_a_short_list_changes_no_score_and_bounds_the_rest() -> None:
    probes = [probe(vector((3, 0.8), (4, 0.4))), probe(vector((4, 0.7), (5, 0.5)))]
    full = gather(probes, {"a": gallery(AXES)}, {"a": calibrated()}, candidates=10)
    short = gather(probes, {"a": gallery(AXES)}, {"a": calibrated()}, candidates=2)
    scores = {item.patient: item.score for item in full.patients}
    assert {item.patient for item in short.patients} == {who(3), who(4), who(5)}
    assert all(item.score == pytest.approx(scores[item.patient]) for item in short.patients)
    assert short.searched == full.searched == 10
    beyond = [item.log10_lrs["a:CT/"] for item in full.patients if item.patient not in {who(3), who(4), who(5)}]
    assert short.rest_log10_lr >= max(beyond)


def test_an_encoder_that_disagrees_is_heard_even_when_its_list_ended_before() -> None:
    a, b = gallery(AXES), gallery(AXES, "b")
    probes = [probe(vector((3, 0.95))), probe(vector((7, 0.95)), "b")]
    found = gather(probes, {"a": a, "b": b}, {"a": calibrated(), "b": calibrated("b")}, candidates=1)
    three = next(item for item in found.patients if item.patient == who(3))
    assert three.log10_lrs["a:CT/"] > 3
    assert three.log10_lrs["b:CT/"] < 0
    decision = decide(found.patients, found.searched, POLICY, True, rest_log10_lr=found.rest_log10_lr)
    assert decision.outcome is Outcome.REVIEW


def test_a_patient_whom_an_encoder_never_saw_is_not_held_against() -> None:
    found = gather(
        [probe(vector((3, 0.95))), probe(vector((7, 0.95)), "b")],
        {"a": gallery(AXES), "b": gallery([(8, vector((8, 1.0)))], "b")},
        {"a": calibrated(), "b": calibrated("b")},
    )
    three = next(item for item in found.patients if item.patient == who(3))
    assert set(three.log10_lrs) == {"a:CT/"}


def test_the_probes_own_study_is_left_out() -> None:
    rows = [*AXES, (3, vector((3, 0.95)))]
    own = probe(vector((3, 0.95)), study_uid="1.10")
    found = gather([own], {"a": gallery(rows)}, {"a": calibrated()})
    assert max(item.score for item in found.patients) < 0.999


def test_other_modalities_and_views_are_not_compared() -> None:
    lateral = gallery(AXES, view="LATERAL")
    assert gather([probe(vector((3, 1.0)), view="FRONTAL")], {"a": lateral}, {"a": calibrated()}).searched == 0
    assert gather([probe(vector((3, 1.0)), modality="MR")], {"a": lateral}, {"a": calibrated()}).searched == 0
    assert gather([probe(vector((3, 1.0)))], {"a": lateral}, {"a": calibrated()}).searched == 10


@pytest.mark.parametrize(
    ("calibration", "note"),
    [(None, "CALIBRATION_MISSING:a"), (calibrated(scope="phantom"), "CALIBRATION_NOT_TRUSTED:a")],
)
def test_without_a_trusted_calibration_nothing_is_linked(calibration: Calibration | None, note: str) -> None:
    found = gather([probe(vector((3, 1.0)))], {"a": gallery(AXES)}, {"a": calibration})
    assert (found.trusted, found.notes) == (False, (note,))
    decision = decide(found.patients, found.searched, POLICY, found.trusted, rest_log10_lr=found.rest_log10_lr)
    assert (decision.outcome, decision.best) == (Outcome.REVIEW, who(3))
    assert (Reason.UNCALIBRATED in decision.reasons) == (calibration is None)


def test_what_is_known_of_a_patient_can_block() -> None:
    def known(key: PatientKey) -> PatientIdentity | None:
        return PatientIdentity(key, sex="M", birth_date="19500101") if key == who(3) else None

    orphan = Demographics(sex="F", birth_date="19500101")
    found = gather([probe(vector((3, 1.0)))], {"a": gallery(AXES)}, {"a": calibrated()}, probe=orphan, known=known)
    decision = decide(found.patients, found.searched, POLICY, found.trusted, rest_log10_lr=found.rest_log10_lr)
    assert (decision.outcome, decision.reasons) == (Outcome.REVIEW, (Reason.SEX,))


def test_no_embeddings_and_nobody_enrolled_are_no_evidence() -> None:
    assert gather([], {}, {}).patients == ()
    assert gather([], {}, {}).trusted is False
    empty = gather([probe(vector((3, 1.0)))], {"a": gallery([])}, {"a": calibrated()})
    assert (empty.patients, empty.searched) == ((), 0)


def test_versions_are_never_mixed() -> None:
    other = FaissGallery("a", "2", DIMENSION)
    with pytest.raises(GalleryError, match="index the archive again"):
        gather([probe(vector((3, 1.0)))], {"a": other}, {"a": calibrated()})
    with pytest.raises(CalibrationError, match="medreid calibrate"):
        gather([probe(vector((3, 1.0)))], {"a": gallery(AXES)}, {"a": calibrated(version="2")})


def decided(found: Evidence) -> Any:
    return decide(
        found.patients,
        found.searched,
        POLICY,
        found.trusted,
        rest_log10_lr=found.rest_log10_lr,
        rest_mean_log10_lr=found.rest_mean_log10_lr,
        fusion=found.fusion,
    )


def test_frontal_and_lateral_films_of_a_study_are_two_sources_of_one_archive() -> None:
    rows = [(n, vector((n, 1.0))) for n in range(10)]
    both = FaissGallery("a", "1", DIMENSION)
    both.enrol(
        [
            GalleryEntry(2 * n + side, who(p), f"1.{n}", v, modality="DX", view=view)
            for n, (p, v) in enumerate(rows)
            for side, view in enumerate(("FRONTAL", "LATERAL"))
        ]
    )
    frontal, lateral = (probe(vector((3, 0.8)), modality="DX", view=view) for view in ("FRONTAL", "LATERAL"))
    one, two = (gather(films, {"a": both}, {"a": calibrated()}) for films in ([frontal], [frontal, lateral]))
    assert two.searched == one.searched == 10, "the same people were searched twice"
    best = next(item for item in two.patients if item.patient == who(3))
    assert set(best.log10_lrs) == {"a:DX/FRONTAL", "a:DX/LATERAL"}
    alone, fused = (decided(found).ranked[0] for found in (one, two))
    assert alone.log10_lr < fused.log10_lr < 2 * alone.log10_lr, "more than one look, less than two"
    assert fused.p_value == pytest.approx(2 * alone.p_value), "two looks have two chances to err"


def test_kinds_are_compared_with_each_other_where_a_calibration_knows_how() -> None:
    rng = np.random.default_rng(4)
    foreign = Pair.of_name("CT/+DX/FRONTAL")
    names = [Pair.alike("CT").name] * 300 + [foreign.name] * 60
    others = [Pair.alike("CT").name] * 3000 + [foreign.name] * 500
    found = fit_calibration(
        np.append(rng.normal(0.9, 0.05, 300), rng.normal(0.6, 0.1, 60)),
        np.append(rng.normal(0.1, 0.1, 3000), rng.normal(0.1, 0.1, 500)),
        encoder="a",
        version="1",
        scope="site",
        fitted_on="a test",
        patients=300,
        mated_strata=names,
        nonmated_strata=others,
    )
    film = probe(vector((3, 0.6)), modality="DX", view="FRONTAL")
    evidence = gather([film], {"a": gallery(AXES)}, {"a": found})
    assert evidence.searched == 10
    best = next(item for item in evidence.patients if item.patient == who(3))
    assert best.log10_lrs == {"a:CT/+DX/FRONTAL": pytest.approx(found.log10_lr(0.6, foreign).item())}
    lateral = gather([probe(vector((3, 0.6)), modality="DX", view="LATERAL")], {"a": gallery(AXES)}, {"a": found})
    assert lateral.searched == 0, "no stratum knows lateral films and CT"
    with pytest.raises(CalibrationError, match="not calibrated"):
        found.log10_lr(0.5, Pair.of_name("CT/+MR/"))


def test_a_list_that_ends_early_changes_nobodys_share_little() -> None:
    """Those beyond the list count with the LR of having stayed below it, not with the largest they might have."""
    rng = np.random.default_rng(8)
    rows = [(n, vector((n % 30, 0.3 + 0.02 * rng.random()))) for n in range(300)]
    probes = [probe(vector((3, 0.6), (4, 0.5)))]
    full, short = (decided(gather(probes, {"a": gallery(rows)}, {"a": calibrated()}, candidates=k)) for k in (300, 10))
    assert short.p_nobody == pytest.approx(full.p_nobody, abs=0.1)


def test_demographics_are_evidence_of_their_own() -> None:
    weights = DemographicWeights(POLICY.demographics)

    def known(key: PatientKey) -> PatientIdentity:
        return PatientIdentity(key, sex="F", birth_date="19500101" if key == who(3) else "19611122")

    orphan = Demographics(sex="F", birth_date="19500101")
    probes, galleries = [probe(vector((3, 0.5), (4, 0.5)))], {"a": gallery(AXES)}
    found = gather(probes, galleries, {"a": calibrated()}, probe=orphan, known=known, weights=weights)
    by_patient = {item.patient: item for item in found.patients}
    assert by_patient[who(3)].log10_lrs["demographics"] > 3
    assert by_patient[who(4)].log10_lrs["demographics"] < 0
    ranked = decided(found).ranked[0]
    assert ranked.patient == who(3)
    assert ranked.log10_lr == pytest.approx(ranked.image_log10_lr + ranked.log10_lrs["demographics"])


def test_names_and_dates_alone_never_link() -> None:
    weights = DemographicWeights(POLICY.demographics)
    found = gather(
        [probe(vector((20, 1.0)))],
        {"a": gallery(AXES[:1])},
        {"a": calibrated()},
        probe=Demographics("F", "19500101"),
        known=lambda key: PatientIdentity(key, sex="F", birth_date="19500101"),
        weights=weights,
    )
    decision = decided(found)
    assert decision.outcome is not Outcome.LINK
    assert {Reason.LIKELIHOOD_RATIO, Reason.FALSE_POSITIVE} <= set(decision.reasons)


def test_what_a_verifier_proves_ranks_the_candidates_anew() -> None:
    found = gather([probe(vector((3, 0.55), (4, 0.5)))], {"a": gallery(AXES)}, {"a": calibrated()})
    assert decided(found).best == who(3)
    verified = with_verification(
        found,
        {
            who(4): {"volume": GeometricEvidence(4.0, 0.001, 5.0)},
            who(3): {"volume": GeometricEvidence(-2.0, 1.0, 5.0)},
            who(99): {"volume": GeometricEvidence(5.0, 0.001, 5.0)},
        },
    )
    assert decided(verified).best == who(4)
    by_patient = {item.patient: item for item in verified.patients}
    assert "volume" not in by_patient[who(5)].log10_lrs, "who was not verified has nothing for or against him"
    assert by_patient[who(5)].p_values["volume"] == 1.0
    assert len(by_patient[who(4)].p_values) == 2
    assert who(99) not in by_patient
    assert with_verification(found, {}).patients == found.patients


def test_a_verifiers_score_is_worth_what_its_calibration_says() -> None:
    one = geometric_evidence(calibrated(), 0.9, 50, Pair.alike("CT"))
    assert one.log10_lr == pytest.approx(calibrated().log10_lr(0.9).item())
    assert one.p_value == calibrated().p_value(0.9, 50)
    assert one.separation == calibrated().overall.separation
