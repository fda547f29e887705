"""The evaluator at 10,000 probes x 100,000 gallery entries: seconds and peak memory, each run in a process of its own.

Beside it the least that any exact evaluation has to do with the same embeddings, in the same blocks: the inner products
in float64 and the best 50 of every row. All scores at once would be 8 GB.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as Shown

from training.evaluation.evaluate import evaluate
from training.evaluation.options import Options
from training.evaluation.sources import EmbeddingScores
from training.evaluation.table import Table
from training.manifests.schema import Role, Row

PROBES, ENTRIES, DIMENSION = 10_000, 100_000, 256
LIMIT_MB = 1500
_BLOCK = (256, 1 << 16)


def main(probes: int = PROBES, entries: int = ENTRIES) -> dict[str, Any]:
    console = Console()
    figures: dict[str, Any] = {"probes": probes, "entries": entries, "limit_mb": LIMIT_MB}
    with console.status("evaluator"):
        for part in ("floor", "evaluator"):
            command = [sys.executable, "-m", "tests.bench.evaluator", part, str(probes), str(entries)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            figures[part] = json.loads(done.stdout.splitlines()[-1])
    show(figures, console)
    return figures


def people(probes: int, entries: int) -> tuple[list[Row], NDArray[np.float32]]:
    """Probes of people with two gallery images each, and other people with one; embeddings with some resemblance."""
    rng = np.random.default_rng(0)
    own = np.repeat(np.arange(probes), 3)
    patients = np.concatenate([own, np.arange(probes, entries - probes)])
    rows = []
    for number, patient in enumerate(patients.tolist()):
        visit = number % 3 if number < len(own) else 1
        rows.append(
            Row(
                path="",
                patient_id=str(patient),
                study=str(visit),
                days=100 * visit,
                sex="FM"[patient % 2],
                age=float(patient % 90),
                device=str(number % 7),
                view=("PA", "AP")[number % 2],
                modality="DX",
                role=Role.PROBE if visit == 0 else Role.GALLERY,
            )
        )
    vectors = rng.standard_normal((len(rows), DIMENSION), dtype=np.float32)
    for visit in (1, 2):
        vectors[visit : len(own) : 3] = 0.25 * vectors[0 : len(own) : 3] + 0.75 * vectors[visit : len(own) : 3]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return rows, vectors


def run_floor(probes: int, entries: int) -> dict[str, float]:
    _, vectors = people(probes, entries)
    gallery, mine = vectors[-entries:], vectors[:probes]
    start = time.monotonic(), time.process_time()
    rows, columns = _BLOCK
    for first in range(0, probes, rows):
        for begin in range(0, entries, columns):
            scores = mine[first : first + rows].astype(np.float64) @ gallery[begin : begin + columns].astype(float).T
            np.argpartition(scores, -50, axis=1)[:, -50:]
    return _spent(start)


def run_evaluator(probes: int, entries: int) -> dict[str, Any]:
    rows, vectors = people(probes, entries)
    table, source = Table.from_rows(rows), EmbeddingScores(vectors)
    del rows
    clock: dict[str, list[float]] = {}

    def tell(stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        clock.setdefault(stage, [now, now])[1] = now

    start = time.monotonic(), time.process_time()
    found = evaluate(table, source, Options(), progress=tell)
    spent: dict[str, Any] = _spent(start)
    point = found.measures.open_set.points[2]
    return spent | {
        "stages_s": {stage: round(last - first, 1) for stage, (first, last) in clock.items()},
        "rank_1": found.measures.closed_set.rank["1"].value,
        "fnir_at_fpir_1_percent": point.fnir["1"].value,
        "comparisons": found.sizes.nonmated_comparisons,
    }


def _spent(start: tuple[float, float]) -> dict[str, float]:
    wall, cpu = time.monotonic() - start[0], time.process_time() - start[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": wall, "cpu_seconds": cpu, "peak_mb": peak}


def show(figures: dict[str, Any], console: Console) -> None:
    table = Shown("", "seconds", "seconds of all cores", "peak MB")
    table.title = f"{figures['probes']} probes x {figures['entries']} gallery entries, embeddings of {DIMENSION}"
    table.add_row("inner products and best 50 alone", *_cells(figures["floor"]))
    table.add_row("evaluator: all figures, 1000 bootstrap rounds, strata", *_cells(figures["evaluator"]))
    table.add_row("limit", "", "", f"{figures['limit_mb']}")
    console.print(table)
    console.print({stage: f"{seconds} s" for stage, seconds in figures["evaluator"]["stages_s"].items()})


def _cells(one: dict[str, float]) -> tuple[str, str, str]:
    return f"{one['seconds']:.0f}", f"{one['cpu_seconds']:.0f}", f"{one['peak_mb']:.0f}"


_PARTS: dict[str, Callable[[int, int], dict[str, Any]]] = {"floor": run_floor, "evaluator": run_evaluator}

if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(_PARTS[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))))
    else:
        main()
