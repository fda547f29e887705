"""How a person looks from outside: complexion, eyes, hair, brows, moles. Part of the person; age turns hair grey."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.cohort.chance import stream
from training.cohort.person import Person

Colour = tuple[float, float, float]

# Linear RGB reflectance from light to dark skin; the parameter of a person lies between neighbours.
_SKIN = np.array([[0.72, 0.47, 0.37], [0.62, 0.38, 0.28], [0.48, 0.28, 0.19], [0.30, 0.165, 0.105], [0.15, 0.08, 0.05]])
# Iris and hair, light to dark.
_IRIS = np.array([[0.28, 0.36, 0.42], [0.26, 0.31, 0.20], [0.22, 0.15, 0.07], [0.09, 0.045, 0.02]])
_HAIR = np.array([[0.42, 0.28, 0.13], [0.22, 0.125, 0.06], [0.09, 0.05, 0.028], [0.025, 0.018, 0.014]])
_GREY = np.array([0.50, 0.48, 0.45])
_MOLES = 7


@dataclass(frozen=True, slots=True)
class Look:
    """Colours are linear RGB reflectances.

    ``hairline`` is mm above the brows, ``recession`` mm that the temples are bare further, ``bald`` how bare the crown
    is (0 to 1); ``beard`` is how much grows (0 for women); ``long`` hair reaches the shoulders; ``brow`` is (half
    thickness, height above the rim, arch, gap to the middle, darkness); a mole is (angle, height, radius, darkness),
    radians and mm; ``grain`` seeds skin texture.
    """

    skin: Colour
    flush: float
    iris: Colour
    hair: Colour
    grey: float
    hairline: float
    recession: float
    bald: float
    length: float
    long: bool
    beard: float
    brow: tuple[float, float, float, float, float]
    lips: float
    lids: float
    freckles: float
    wrinkles: float
    moles: tuple[tuple[float, float, float, float], ...]
    grain: int


def look_of(who: Person, years: float) -> Look:
    """How the person looks at an age in years."""
    rng = stream(who.seed, "person", who.number, "look")
    dark = float(rng.beta(1.3, 1.5))
    skin = _between(_SKIN, dark * 4) * rng.uniform(0.93, 1.07, 3)
    hair = _between(_HAIR, 3 * float(np.clip(0.35 + 0.8 * dark + rng.normal(0, 0.22), 0, 1)))
    iris = _between(_IRIS, 3 * float(np.clip(0.2 + 1.2 * dark + rng.normal(0, 0.3), 0, 1)))
    turns = rng.normal(60.0, 9.0)
    grey = float(1 / (1 + np.exp(-(years - turns) / 5.0)))
    male = who.sex == "M"
    bald_at, recedes = rng.normal(58.0, 22.0), rng.uniform(2, 16)
    bald = float(np.clip((years - bald_at) / 22.0, 0, 1)) if male else 0.0
    thick, lift = (
        (rng.uniform(2.3, 5.0), rng.normal(4.5, 1.6)) if male else (rng.uniform(1.7, 3.7), rng.normal(7.0, 1.6))
    )
    brow = (thick, lift, rng.normal(2.2, 1.3), rng.uniform(6, 11), rng.uniform(0.5, 0.95))
    moles = tuple(
        (float(rng.uniform(-1.25, 1.25)), float(rng.uniform(-78, 70)), float(rng.uniform(0.7, 2.1)),
         float(rng.uniform(0.25, 0.7)))
        for _ in range(_MOLES)
    )  # fmt: skip
    return Look(
        skin=_colour(skin),
        flush=float(rng.uniform(0.3, 1.0)) * (1.0 - 0.6 * dark),
        iris=_colour(iris),
        hair=_colour(hair * (1 - grey) + _GREY * grey),
        grey=grey,
        hairline=float(rng.normal(50.0, 6.0)) + 0.12 * max(0.0, years - 40.0) * (1.0 if male else 0.3),
        recession=(recedes + 8.0 * bald) if male else 0.4 * recedes,
        bald=bald,
        length=float(rng.uniform(6, 13) if male else rng.uniform(9, 20)),
        long=bool(rng.random() < (0.03 if male else 0.65)),
        beard=float(rng.uniform(0.3, 1.0)) if male else 0.0,
        brow=(float(brow[0]), float(brow[1]), float(brow[2]), float(brow[3]), float(brow[4])),
        lips=float(rng.uniform(0.3, 1.0)),
        lids=float(rng.uniform(-1.0, 1.0)),
        freckles=float(max(0.0, rng.uniform(-0.5, 1.0) - dark)),
        wrinkles=float(np.clip((years - 32.0) / 45.0, 0.0, 1.0)),
        moles=moles,
        grain=int(rng.integers(2**31)),
    )


def _between(table: NDArray[np.float64], at: float) -> NDArray[np.float64]:
    places = np.arange(len(table))
    return np.array([np.interp(at, places, table[:, n]) for n in range(3)])


def _colour(values: NDArray[np.float64]) -> Colour:
    r, g, b = (float(v) for v in np.clip(values, 0.005, 0.95))
    return r, g, b
