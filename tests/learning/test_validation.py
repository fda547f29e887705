"""Judging on patients that were held out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from config.errors import TrainingError
from tests.learning.tiny import tiny_recipe
from training.learning.catalogue import Image
from training.learning.validation import balanced_accuracy, check_validation, chosen_for_validation, figures_of
from training.manifests.files import Manifest
from training.manifests.schema import Row

MANIFEST = Manifest(Path("manifest.csv"), ())


def _rows(images: list[int], **columns: str) -> list[Row]:
    return [
        Row(f"{patient}-{study}", f"p{patient}", f"s{study}", **({"modality": "DX"} | columns))  # type: ignore[arg-type]
        for patient, count in enumerate(images)
        for study in range(count)
    ]


def _vectors(rows: list[Row], noise: float) -> np.ndarray:
    """Each patient a direction, with noise."""
    rng = np.random.default_rng(3)
    names = {name: rng.normal(size=16) for name in sorted({row.patient_id for row in rows})}
    made = np.array([names[row.patient_id] + noise * rng.normal(size=16) for row in rows])
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def test_figures_are_those_of_the_evaluation() -> None:
    rows = _rows([3] * 30 + [1] * 30)
    good, bad = (figures_of(tiny_recipe(Path()), rows, _vectors(rows, noise)).by_name for noise in (0.05, 5.0))
    assert good["rank-1"].value == 1.0
    assert good["eer"].value == pytest.approx(0.0, abs=0.01)
    assert good["fnir"].value == pytest.approx(0.0, abs=0.05)
    assert (bad["rank-1"].value or 0) < 0.3
    assert (bad["eer"].value or 0) > 0.3
    # Patients of one image are searched among, and never for.
    assert good["rank-1"].n == 90
    assert good["rank-1"].patients == 30


def test_images_without_view_and_side_are_compared_where_these_must_be_the_same() -> None:
    recipe = tiny_recipe(Path()).model_copy(update={"compare": ("modality", "view", "laterality")})
    rows = [
        *_rows([2] * 10, modality="CT"),
        *(replace(row, patient_id=f"e{row.patient_id}") for row in _rows([2] * 10, modality="OP", laterality="L")),
    ]
    check_validation(recipe, rows)
    assert figures_of(recipe, rows, _vectors(rows, 0.05)).by_name["rank-1"].n == 40


def test_images_of_two_modalities_are_not_compared_unless_the_recipe_says_so() -> None:
    rows = [replace(row, modality=("DX", "CT")[n % 2]) for n, row in enumerate(_rows([2] * 10))]
    apart = tiny_recipe(Path())
    with pytest.raises(TrainingError) as caught:
        check_validation(apart, rows)
    assert caught.value.reason == "VALIDATION_TOO_SMALL"
    across = apart.model_copy(update={"compare": ()})
    check_validation(across, rows)
    assert figures_of(across, rows, _vectors(rows, 0.05)).by_name["rank-1"].value == 1.0


def test_so_many_patients_with_mates_and_as_many_without_are_chosen_and_stay_so() -> None:
    images = [Image(0, MANIFEST, row) for row in _rows([2] * 30 + [1] * 30)]
    recipe = tiny_recipe(Path())
    chosen = chosen_for_validation(recipe, images)
    counts = {patient: sum(image.patient == patient for image in chosen) for patient in {i.patient for i in chosen}}
    assert sorted(counts.values()) == [1] * 6 + [2] * 6
    assert chosen == chosen_for_validation(recipe, images)


def test_accuracy_counts_rare_classes_like_frequent_ones() -> None:
    classes, guesses = np.array([0] * 8 + [1] * 2), np.zeros(10, np.int64)
    assert balanced_accuracy(classes, guesses) == 0.5
