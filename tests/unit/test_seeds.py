"""Nobody is measured on who was learned from: recipes, calibration, demo and benchmarks draw other persons."""

from __future__ import annotations

import inspect

from dicom_node.cli.phantoms import demo_cohort
from dicom_node.demo import DEMO_SEED
from tests.bench.decision import SEED as BENCH_SEED
from tests.bench.verifiers import SEED as VERIFIERS_BENCH_SEED
from training.cohort import person
from training.recipes.phantoms import CALIBRATION_SEED, DECISIONS_SEED, FACE_SEED, GENERAL_SEED
from training.recipes.verifiers import VERIFIER_SEED
from training.studies.nuisances import NUISANCE_SEED
from training.studies.verification import VERIFICATION_SEED


def test_every_use_of_phantoms_has_a_seed_of_its_own() -> None:
    tour = inspect.signature(demo_cohort).parameters["seed"].default
    studies = [VERIFICATION_SEED, VERIFICATION_SEED + 1, DECISIONS_SEED, NUISANCE_SEED, VERIFIER_SEED]
    benches = [BENCH_SEED, VERIFIERS_BENCH_SEED]
    seeds = [GENERAL_SEED, FACE_SEED, CALIBRATION_SEED, DEMO_SEED, tour, *benches, *studies]
    assert len(set(seeds)) == len(seeds)


def test_another_seed_is_other_people() -> None:
    learned = {person(CALIBRATION_SEED, number) for number in range(1, 50)}
    shown = {person(DEMO_SEED, number) for number in range(1, 50)}
    assert not learned & shown
    assert not {who.patient_id for who in learned} & {who.patient_id for who in shown}
