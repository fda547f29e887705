"""The streamed search holds a bounded number of scores, however many there are."""

from __future__ import annotations

import json
import subprocess
import sys

_SCRIPT = """
import json, resource, sys
import numpy as np
from training.evaluation.evaluate import evaluate
from training.evaluation.options import Options
from training.evaluation.sources import EmbeddingScores
from training.evaluation.table import Table
from training.manifests.schema import Role, Row

probes, entries = int(sys.argv[1]), int(sys.argv[2])
rows = [Row(path="", patient_id=str(p), study="0", role=Role.PROBE) for p in range(probes)]
rows += [Row(path="", patient_id=str(p), study="1", role=Role.GALLERY) for p in range(entries)]
vectors = np.random.default_rng(0).standard_normal((len(rows), 8), dtype=np.float32)
vectors[probes : 2 * probes] += vectors[:probes]
table = Table.from_rows(rows)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
options = Options(rounds=20, block_scores=1 << 18, gallery_sizes=(), strata=(), lr_comparisons=10_000)
evaluate(Table.from_rows(rows[:40] + rows[probes : probes + 60]), EmbeddingScores(vectors[:100]), options)
before = peak()
found = evaluate(table, EmbeddingScores(vectors), options)
print(json.dumps([before, peak(), found.sizes.nonmated_comparisons]))
"""


def _grown(probes: int, entries: int) -> tuple[float, int]:
    command = [sys.executable, "-c", _SCRIPT, str(probes), str(entries)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    before, after, comparisons = json.loads(done.stdout)
    return after - before, comparisons


def test_memory_is_bounded_where_all_scores_would_not_fit() -> None:
    grown, comparisons = _grown(1000, 30_000)
    assert comparisons == 1000 * 29_999
    # All scores in float64 are 229 MB, and a mask and a copy as much again.
    assert grown < 100, f"grown by {grown:.0f} MB"
