"""From where a face is seen to be learned: 90 cameras around a scan, and any number around a face of the source domain.

A scan's cameras are the grid of 9 pitches from -20 to 20 degrees (steps of 5) and 10 rolls from -25 to 25 degrees
(steps of 50/9), yaw 0, as the paper on CT faces has them (90 poses, pitch within 20, roll within 25 degrees; it does
not say how they are spread). The grid is in the face's own frame: its middle is the frontal face, however the head lay.
"""

from __future__ import annotations

import numpy as np

from inference.imaging.depth_image import Turn

MOST_PITCH, MOST_ROLL = 20.0, 25.0
_PITCHES, _ROLLS = 9, 10
# People in front of a depth camera also turn to the side, and look up and down further.
SOURCE_PITCH, SOURCE_YAW, SOURCE_ROLL = 25.0, 40.0, 25.0


def scan_turns() -> tuple[Turn, ...]:
    """The 90 poses of a scan."""
    pitches = np.linspace(-MOST_PITCH, MOST_PITCH, _PITCHES)
    rolls = np.linspace(-MOST_ROLL, MOST_ROLL, _ROLLS)
    return tuple(Turn(pitch=float(pitch), roll=float(roll)) for pitch in pitches for roll in rolls)


def some_turns(count: int, rng: np.random.Generator) -> tuple[Turn, ...]:
    """``count`` of the 90 poses, all different; all of them where that is as many or more."""
    turns = scan_turns()
    chosen = np.sort(rng.permutation(len(turns))[:count])
    return tuple(turns[place] for place in chosen)


def source_turns(count: int, rng: np.random.Generator) -> tuple[Turn, ...]:
    """``count`` poses of the source domain, uniform within its limits; tenths of degrees, no two with one name."""
    limits = np.array([SOURCE_PITCH, SOURCE_YAW, SOURCE_ROLL])
    found: dict[str, Turn] = {}
    while len(found) < count:
        turn = Turn(*(float(angle) for angle in np.round(rng.uniform(-limits, limits), 1)))
        found[turn.name] = turn
    return tuple(found.values())
