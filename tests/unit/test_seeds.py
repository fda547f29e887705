"""Nobody is measured on who was learned from: recipes, studies, demo and benchmarks draw other persons."""

from __future__ import annotations

import ast
import inspect
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dicom_node.cli.phantoms import demo_cohort
from dicom_node.demo import DEMO_SEED
from training.cohort import person
from training.recipes.phantoms import CALIBRATION_SEED
from training.studies.verification import VERIFICATION_SEED

ROOT = Path(__file__).parents[2]


def constants() -> Iterator[int]:
    """The value of every constant of a module whose name ends in SEED."""
    for folder in ("training", "dicom_node", "deid", "tests/bench"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for line in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(line, ast.Assign):
                    yield from _seeds(line)


def _seeds(line: ast.Assign) -> Iterator[int]:
    target, value = line.targets[0], line.value
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    values = value.elts if isinstance(value, ast.Tuple) else [value]
    for name, one in zip(names, values, strict=False):
        if isinstance(name, ast.Name) and name.id.endswith("SEED") and isinstance(one, ast.Constant):
            assert isinstance(one.value, int), name.id
            yield one.value


def cohorts(recipe: Any, inside: bool = False) -> Iterator[int]:
    """The seeds in the tables of a recipe: those of its people. Its own, above all tables, is of its chances."""
    if isinstance(recipe, dict):
        if inside and "seed" in recipe:
            yield recipe["seed"]
        for value in recipe.values():
            yield from cohorts(value, True)
    elif isinstance(recipe, list):
        for value in recipe:
            yield from cohorts(value, True)


def test_every_use_of_phantoms_has_a_seed_of_its_own() -> None:
    tour = inspect.signature(demo_cohort).parameters["seed"].default
    recipes = {
        seed
        for path in sorted((ROOT / "training").rglob("*.toml"))
        for seed in cohorts(tomllib.loads(path.read_text(encoding="utf-8")))
    }
    found = Counter([tour, VERIFICATION_SEED + 1, *constants(), *recipes])
    assert len(found) > 30
    assert DEMO_SEED in found
    assert not {seed: uses for seed, uses in found.items() if uses > 1}


def test_another_seed_is_other_people() -> None:
    learned = {person(CALIBRATION_SEED, number) for number in range(1, 50)}
    shown = {person(DEMO_SEED, number) for number in range(1, 50)}
    assert not learned & shown
    assert not {who.patient_id for who in learned} & {who.patient_id for who in shown}
