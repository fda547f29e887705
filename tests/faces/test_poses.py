"""The cameras of training: how many, where, and none twice."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.faces.poses import (
    SOURCE_PITCH,
    SOURCE_ROLL,
    SOURCE_YAW,
    scan_turns,
    some_turns,
    source_turns,
)


def test_a_scan_has_90_poses_within_20_and_25_degrees_and_never_looks_aside() -> None:
    turns = scan_turns()
    assert len(set(turns)) == len({turn.name for turn in turns}) == 90
    assert {min(turn.pitch for turn in turns), max(turn.pitch for turn in turns)} == {-20.0, 20.0}
    assert {min(turn.roll for turn in turns), max(turn.roll for turn in turns)} == {-25.0, 25.0}
    assert all(turn.yaw == 0 for turn in turns)


def test_poses_are_spread_evenly() -> None:
    pitches, rolls = (sorted({turn[n] for turn in scan_turns()}) for n in (0, 2))
    for values in (pitches, rolls):
        assert np.ptp(np.diff(values)) < 1e-9


@given(st.integers(1, 120), st.integers(0, 2**31))
def test_some_poses_are_poses_of_a_scan_each_once(count: int, seed: int) -> None:
    turns = some_turns(count, np.random.default_rng(seed))
    assert len(turns) == len(set(turns)) == min(count, 90)
    assert set(turns) <= set(scan_turns())


@given(st.integers(1, 60), st.integers(0, 2**31))
def test_poses_of_the_source_domain_keep_their_limits(count: int, seed: int) -> None:
    turns = source_turns(count, np.random.default_rng(seed))
    assert len({turn.name for turn in turns}) == count
    for turn in turns:
        assert abs(turn.pitch) <= SOURCE_PITCH and abs(turn.yaw) <= SOURCE_YAW and abs(turn.roll) <= SOURCE_ROLL
