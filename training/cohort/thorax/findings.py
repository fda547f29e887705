"""What illness does to one chest on one day, in the chest's own terms: the film and the CT of a day show the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.cohort.illness import Illness


@dataclass(frozen=True, slots=True)
class Spot:
    """A round place in a lung. ``side`` is 1 for the left; ``across``, ``back`` and ``up`` are where in the lung it is
    (see :meth:`~training.cohort.thorax.frame.Chest.lung_point`), ``radius`` millimetres."""

    side: int
    across: float
    back: float
    up: float
    radius: float


@dataclass(frozen=True, slots=True)
class Findings:
    """``side`` is 1 for the left. Heights and depths are millimetres, ``emphysema`` and ``filled`` shares.

    ``heart`` multiplies the size of the heart; ``patches`` are consolidated to the share ``filled``.
    """

    heart: float = 1.0
    fluid: float = 0.0
    fluid_side: int = -1
    collapse: float = 0.0
    collapse_side: int = -1
    emphysema: float = 0.0
    patches: tuple[Spot, ...] = ()
    filled: float = 0.0
    nodules: tuple[Spot, ...] = ()
    pacemaker: bool = False
    pacemaker_side: int = 1
    grain: int = 0


def findings_of(ill: Illness) -> Findings:
    """The chest's share of a visit's illness."""
    fluid, collapse = ill["effusion"], ill["pneumothorax"]
    patch, nodule, heart = ill["consolidation"], ill["nodule"], ill["cardiomegaly"]
    return Findings(
        heart=1.0 + (0.10 + 0.16 * heart.severity if heart else 0.0),
        fluid=22.0 + 62.0 * fluid.severity if fluid else 0.0,
        fluid_side=_side(fluid.side),
        collapse=9.0 + 26.0 * collapse.severity if collapse else 0.0,
        collapse_side=_side(collapse.side),
        emphysema=0.3 + 0.7 * ill["emphysema"].severity if ill["emphysema"] else 0.0,
        patches=_patches(patch.seed, _side(patch.side), patch.severity) if patch else (),
        filled=0.6 + 0.3 * patch.severity if patch else 0.0,
        nodules=_nodules(nodule.seed, _side(nodule.side), nodule.severity) if nodule else (),
        pacemaker=bool(ill["pacemaker"]),
        pacemaker_side=-1 if ill["pacemaker"].seed % 5 == 1 else 1,
        grain=(patch.seed ^ nodule.seed) & 0x7FFFFFFF,
    )


def _side(letter: str) -> int:
    return 1 if letter == "L" else -1


def _patches(seed: int, side: int, severity: float) -> tuple[Spot, ...]:
    """Some overlapping rounds in one lobe."""
    rng = np.random.Generator(np.random.PCG64(seed))
    across, back, up = rng.uniform(0.35, 0.8), rng.uniform(-0.5, 0.6), rng.uniform(0.12, 0.7)
    count = 2 + int(3 * severity)
    return tuple(
        Spot(
            side,
            float(np.clip(across + rng.normal(0, 0.12), 0.2, 0.9)),
            float(np.clip(back + rng.normal(0, 0.18), -0.75, 0.8)),
            float(np.clip(up + rng.normal(0, 0.07), 0.05, 0.9)),
            float((16.0 + 17.0 * severity) * rng.uniform(0.75, 1.2)),
        )
        for _ in range(count)
    )


def _nodules(seed: int, side: int, severity: float) -> tuple[Spot, ...]:
    rng = np.random.Generator(np.random.PCG64(seed))
    count = 1 + int(rng.random() < 0.3) + 2 * int(severity > 0.85)
    return tuple(
        Spot(
            side if n == 0 or rng.random() < 0.5 else -side,
            float(rng.uniform(0.35, 0.85)),
            float(rng.uniform(-0.6, 0.7)),
            float(rng.uniform(0.15, 0.85)),
            float((4.0 + 9.0 * severity) * rng.uniform(0.75, 1.1)),
        )
        for n in range(count)
    )
