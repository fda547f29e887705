"""Freed memory stays with the process that was told to keep it."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Three pieces of 64 MB that are written, freed, and needed again: how many pages had to be fetched the second time.
_PROGRAM = """
import resource, sys
import numpy as np
from inference.encoders.memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
faults = []
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        np.ones(8 << 20)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[1])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_memory_that_is_kept_is_not_fetched_again() -> None:
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", _PROGRAM, how], capture_output=True, text=True, check=True).stdout)
        for how in ("keep", "leave")
    )
    # Whole pages may be huge ones: each fetches as much as five hundred.
    assert kept < 8
    assert given_back >= 3 * 64 // 2
