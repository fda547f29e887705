"""Small pictures: the same anatomy and physics on fewer voxels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from training.cohort.dials.chest_film import ChestFilmDials
from training.cohort.dials.head_ct import HeadCtDials
from training.cohort.illness import no_illness
from training.cohort.visit import Dials

SMALL = Dials(
    head_ct=HeadCtDials(matrix=(80,), spacing=(4.0, 4.5)),
    chest_film=ChestFilmDials(matrix=(192, 224), lateral=0.0),
)
# Every nuisance off: what is left is the person.
STILL = Dials(
    weight_sd=0.0,
    illness=no_illness(),
    head_ct=replace(
        SMALL.head_ct,
        tilt_sd=0.0,
        shift_sd=0.0,
        weight_sd=0.0,
        jaw_sd=0.0,
        smile_sd=0.0,
        field_of_view=(250.0, 250.0),
        spacing=(4.0, 4.0),
        noise=(2.0, 2.0),
        sharp=0.0,
        tube=0.0,
        streaks=0.0,
        short=0.0,
        brow=0.0,
        strap=0.0,
        gap=0.0,
        gantry=0.0,
    ),
    chest_film=replace(
        SMALL.chest_film,
        yaw_sd=0.0,
        pitch_sd=0.0,
        roll_sd=0.0,
        shift_sd=0.0,
        breath=(0.9, 0.9),
        distance=(1800.0, 1800.0),
        view=(("PA", 1.0),),
        lateral=0.0,
        margin=(10.0, 10.0),
        collimation_sd=0.0,
        matrix=(192, 192),
        weight_sd=0.0,
        scatter=(0.2, 0.2),
        heel=0.0,
        noise=(0.004, 0.004),
        grain=(("fine", 1.0),),
        grid_lines=0.0,
        sharpen=(1.0, 1.0),
        detail=(0.5, 0.5),
        equalise=(0.45, 0.45),
        table=(("sigmoid", 1.0),),
        gamma=(1.0, 1.0),
        mirrored=0.0,
        faces_left=0.0,
        marker=0.0,
        text=0.0,
        shutter=0.0,
        necklace=0.0,
        buttons=0.0,
        gas=(0.5, 0.5),
    ),
)


@pytest.fixture
def small() -> Dials:
    return SMALL


@pytest.fixture
def still() -> Dials:
    return STILL
