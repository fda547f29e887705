"""The chest of a person on the day of a visit."""

from __future__ import annotations

from dataclasses import replace

from training.cohort.person import Person
from training.cohort.thorax.findings import findings_of
from training.cohort.thorax.frame import Arms, Chest
from training.cohort.thorax.shape import ThoraxShape
from training.cohort.visit import Visit


def chest_of(
    who: Person, when: Visit, *, breath: float, weight: float, arms: Arms, supine: bool, gas: float = 1.0
) -> Chest:
    """``weight`` is millimetres of fat; illness and ageing are the visit's, so that its film and its CT agree."""
    findings = findings_of(when.illness)
    return Chest(aged(who.thorax, when.ageing), breath, weight, arms, supine, gas, findings)


def aged(shape: ThoraxShape, years: float) -> ThoraxShape:
    """The chest some years on: the back bends, discs and bone thin, the aorta unfolds."""
    return replace(
        shape,
        kyphosis=shape.kyphosis + 0.25 * years,
        disc_height=max(2.2, shape.disc_height - 0.02 * years),
        vertebra_density=max(50.0, shape.vertebra_density - 1.8 * years),
        aorta_unfolding=shape.aorta_unfolding + 0.2 * years,
    )
