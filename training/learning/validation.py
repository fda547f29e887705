"""Open-set identification of patients that training never saw, by the numerics of ``training.evaluation``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.errors import TrainingError
from inference.types import FloatArray
from training.evaluation.evaluate import evaluate
from training.evaluation.figures import Figure, Measures
from training.evaluation.options import Options
from training.evaluation.report.cells import fnir_at
from training.evaluation.sources import EmbeddingScores
from training.evaluation.table import Table
from training.learning.catalogue import Image
from training.learning.recipe import Recipe
from training.learning.seeds import stream
from training.manifests.pairs import Rule, comparable_mask, keys_of, mated_mask
from training.manifests.schema import Row

FPIR = 0.01
# Figures that are better when they are smaller.
ERRORS = frozenset({"eer", "fnir"})
_LEAST_MATED, _LEAST_SEARCHES = 2, int(1 / FPIR)


@dataclass(frozen=True, slots=True)
class Figures:
    """What is measured of embeddings, by name (rank-1, map, eer, auc, fnir); fnir is at FPIR 1 % and rank 1."""

    by_name: Mapping[str, Figure]
    measures: Measures


def rule_of(recipe: Recipe) -> Rule:
    """What images must share to be compared."""
    return Rule(
        same_modality="modality" in recipe.compare,
        same_view="view" in recipe.compare,
        same_laterality="laterality" in recipe.compare,
        # A volume has no view, and a film no side: batches meet them, so tests do.
        unknown_alike=True,
    )


def chosen_for_validation(recipe: Recipe, images: Sequence[Image]) -> list[Image]:
    """The images of so many patients with several as the recipe says, and of as many with one, who are distractors."""
    count: dict[tuple[str, str], int] = {}
    for image in images:
        count[image.patient] = count.get(image.patient, 0) + 1
    if recipe.task == "kind":
        return list(images)
    kept: set[tuple[str, str]] = set()
    for several in (True, False):
        names = sorted(name for name, number in count.items() if (number > 1) is several)
        order = stream(recipe.seed, "validation", int(several)).permutation(len(names))
        kept |= {names[place] for place in order[: recipe.validation.patients]}
    return [image for image in images if image.patient in kept]


def check_validation(recipe: Recipe, rows: Sequence[Row]) -> None:
    """Whether the recipe's figure can be had from these images, before anything is trained.

    Raises
    ------
    TrainingError
        ``VALIDATION_TOO_SMALL`` with how many patients are missing.
    """
    if recipe.task == "kind":
        return
    keys = keys_of(rows)
    mated = (comparable_mask(keys, keys, rule_of(recipe)) & mated_mask(keys, keys)).any(axis=1)
    patients = len(np.unique(keys.patient[mated]))
    if patients < _LEAST_MATED:
        raise TrainingError(
            f"{patients} of the validation's patients have two studies that may be compared, {_LEAST_MATED} are "
            "needed: add patients, or raise validation in [splits]",
            reason="VALIDATION_TOO_SMALL",
        )
    if recipe.validation.figure == "fnir" and len(rows) < _LEAST_SEARCHES:
        raise TrainingError(
            f"FNIR at FPIR {FPIR:g} needs {_LEAST_SEARCHES} searches, the validation has {len(rows)} images: raise "
            "validation.patients, or stop on rank-1",
            reason="VALIDATION_TOO_SMALL",
        )


def figures_of(recipe: Recipe, rows: Sequence[Row], vectors: FloatArray, rounds: int = 0) -> Figures:
    """Figures of embeddings (N, D), L2-normalised, of images that training never saw; intervals with ``rounds``.

    Raises
    ------
    EvaluationError
        ``NOT_FINITE`` for embeddings that are not.
    """
    table = Table.from_rows(rows)
    options = Options(
        rule=rule_of(recipe),
        ranks=(1, 5, 10),
        fpirs=(FPIR,),
        strata=(),
        gallery_sizes=(len(table.patients),),
        draws=1,
        rounds=rounds,
        normalisations=(),
    )
    measures = evaluate(table, EmbeddingScores(vectors), options).measures
    fnir = fnir_at(measures, FPIR)
    assert fnir is not None
    closed, verification = measures.closed_set, measures.verification
    by_name = {
        "rank-1": closed.rank["1"],
        "rank-10": closed.rank["10"],
        "map": closed.map,
        "eer": verification.eer,
        "auc": verification.auc,
        "fnir": fnir,
    }
    return Figures(by_name, measures)


def balanced_accuracy(classes: NDArray[np.int64], guesses: NDArray[np.int64]) -> float:
    """The share of images whose class was guessed, averaged over the classes that there are."""
    right = classes == guesses
    return float(np.mean([right[classes == one].mean() for one in np.unique(classes)]))
