"""All bones of a chest, for the film as attenuation and for the CT as tissue."""

from __future__ import annotations

import numpy as np

from training.cohort.projection import Splats, gather
from training.cohort.thorax.bone import Bone
from training.cohort.thorax.frame import Chest
from training.cohort.thorax.girdle import shoulders
from training.cohort.thorax.ribs import cartilages, ribs, sternum
from training.cohort.thorax.spine import discs, spine

# HU of the muscle and marrow that the film's soft parts hold where a bone lies.
_SOFT = 45.0
# Bone attenuates more at the mean energy of a film than its HU at 120 kV say.
_SOFTER_BEAM = 1.9


def skeleton(chest: Chest) -> list[Bone]:
    """What is laid first gives way to what follows."""
    return [*discs(chest), *cartilages(chest), *ribs(chest), *sternum(chest), *spine(chest), *shoulders(chest)]


def as_attenuation(bones: list[Bone], water: float) -> Splats:
    """What bone adds to soft parts, per millimetre; ``water`` is the attenuation of water."""
    parts = []
    for bone in bones:
        compact, spongy = ((value - _SOFT) * water / 1000.0 for value in (bone.tissue.compact, bone.tissue.spongy))
        parts += [
            bone.splats.scaled(1.0, _SOFTER_BEAM * compact),
            _hollow(bone.splats, bone.tissue.cortex, _SOFTER_BEAM * (spongy - compact)),
        ]
    return gather(parts)


def _hollow(splats: Splats, cortex: float, weight: float) -> Splats:
    """The inside of a rod: thinner across, as long as it was; a ball shrinks all round."""
    radii = splats.radii.copy()
    radii[:, 1:] = np.maximum(radii[:, 1:] - cortex, 0.25 * radii[:, 1:])
    return Splats(splats.centres, splats.axes, radii, splats.weights * weight)
