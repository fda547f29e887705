"""Verifiers: seconds and bytes per template, milliseconds per pair, and how far mates stand from strangers.

Beside each a general-purpose registration of the same images in the same run: for volumes SimpleITK's rigid
registration by mutual information in three resolutions, for pictures OpenCV's ECC. Both need the pixels; a verifier
has its templates only.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from inference.types import LoadedSeries
from inference.verification.protocol import Verifier
from inference.verification.registry import verifiers
from training.recipes.phantoms import phantom_studies

# No other run of the project draws persons from this seed.
SEED = 9200
PERSONS = 4
# What each verifier is measured on.
KINDS = {"volume": ("head-ct", "chest-ct", "head-mr"), "radiograph": ("chest-film",), "fundus": ("fundus",)}
PEER_MM, PEER_PIXELS = 2.0, 256

Person = tuple[LoadedSeries, LoadedSeries]


def main(persons: int = PERSONS) -> dict[str, Any]:
    console = Console()
    cv2.setNumThreads(1)
    figures = {
        f"{name}: {kind}": measure(one, _people(kind, persons), simpleitk if name == "volume" else ecc)
        for name, one in verifiers().items()
        for kind in KINDS[name]
    }
    show(figures, console)
    return figures


def measure(
    verifier: Verifier, people: Sequence[Person], peer: Callable[[LoadedSeries, LoadedSeries], object]
) -> dict[str, float]:
    """Every person's first image with everybody's second."""
    preparing, comparing, mated, strangers = [], [], [], []
    templates = []
    for pair in people:
        made = []
        for image in pair:
            start = time.perf_counter()
            made.append(verifier.template(image))
            preparing.append(time.perf_counter() - start)
        if all(made):
            templates.append(made)
    for own, (probe, _) in enumerate(templates):
        for other, (_, reference) in enumerate(templates):
            start = time.perf_counter()
            score = verifier.score(probe, reference)
            comparing.append(time.perf_counter() - start)
            (mated if own == other else strangers).append(score)
    peers = []
    for first, second in people[:2]:
        start = time.perf_counter()
        peer(first, second)
        peers.append(time.perf_counter() - start)
    return {
        "template_s": statistics.median(preparing),
        "template_bytes": statistics.mean(len(one.data) for made in templates for one in made),
        "pair_ms": 1e3 * statistics.median(comparing),
        "peer_pair_ms": 1e3 * statistics.median(peers),
        "least_mate": min(mated),
        "best_stranger": max(strangers),
    }


def _people(kind: str, persons: int) -> list[Person]:
    """Two images of each person, the first one of either visit; whoever misses a visit is left out."""
    by_person: dict[str, dict[str, LoadedSeries]] = {}
    studies = phantom_studies(kind, persons, SEED)
    for row, images in track(studies, f"phantoms: {kind}"):
        if images:
            by_person.setdefault(row.patient_id, {}).setdefault(row.study, images[0])
    visits = (list(one.values()) for one in by_person.values())
    return [(one[0], one[1]) for one in visits if len(one) > 1]


def simpleitk(moving: LoadedSeries, fixed: LoadedSeries) -> Any:
    """Rigid registration by mutual information, started at the centres of mass."""
    import SimpleITK

    sitk: Any = SimpleITK
    first, second = (_image(one) for one in (fixed, moving))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.1, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 100)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    kind = sitk.CenteredTransformInitializerFilter.MOMENTS
    method.SetInitialTransform(sitk.CenteredTransformInitializer(first, second, sitk.Euler3DTransform(), kind))
    return method.Execute(first, second)


def _image(volume: LoadedSeries) -> Any:
    import SimpleITK

    from inference.imaging.grid import bounds_of, resample

    grid = resample(volume, PEER_MM, *bounds_of(volume), float(volume.pixels.min()))
    sitk: Any = SimpleITK
    image = sitk.GetImageFromArray(grid.values)
    image.SetOrigin(grid.origin.tolist())
    image.SetSpacing([grid.spacing] * 3)
    return image


def ecc(moving: LoadedSeries, fixed: LoadedSeries) -> Any:
    """Affine alignment by the enhanced correlation coefficient; a pair that it gives up on is timed as well."""
    first, second = (
        cv2.resize(
            np.asarray(one.pixels, np.float32).reshape(*one.pixels.shape[:2], -1).mean(axis=2), (PEER_PIXELS,) * 2
        )
        for one in (fixed, moving)
    )
    ends = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-5)
    try:
        return cv2.findTransformECC(first, second, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, ends)
    except cv2.error:
        return None


def show(figures: dict[str, dict[str, float]], console: Console) -> None:
    table = Table(
        "verifier", "template s", "bytes", "pair ms", "peer's pair ms", "least mate", "best stranger", title="verifiers"
    )
    for name, one in figures.items():
        table.add_row(
            name,
            f"{one['template_s']:.2f}",
            f"{one['template_bytes']:.0f}",
            f"{one['pair_ms']:.1f}",
            f"{one['peer_pair_ms']:.0f}",
            f"{one['least_mate']:.2f}",
            f"{one['best_stranger']:.2f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
