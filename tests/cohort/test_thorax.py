"""One chest for film, CT and bone view: what is drawn in one is where the other has it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.cohort.illness import CHEST, Illness, State
from training.cohort.implicit import rotation
from training.cohort.person import person
from training.cohort.projection import Splats
from training.cohort.sampling import Grid, Slab
from training.cohort.thorax.bone import ball
from training.cohort.thorax.findings import Findings, findings_of
from training.cohort.thorax.frame import Arms, Chest
from training.cohort.thorax.patient import aged
from training.cohort.thorax.ribs import rib_path
from training.cohort.thorax.shape import RIBS
from training.cohort.thorax.skeleton import skeleton
from training.cohort.thorax.stamp import Stamp
from training.cohort.thorax.tissue import SoftParts
from training.cohort.thorax.tree import trees, vessels


def cube(edge: float, step: float) -> Grid:
    count = int(edge / step)
    low = -edge / 2 + step / 2
    return Grid((count, count, count), (step, step, step), (low, low, low), rotation(0, 0, 0), np.zeros(3))


def units(chest: Chest, step: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    """HU of the soft parts on a coarse grid about the chest, and the share of lung."""
    shape = (int(420 / step), int(330 / step), int(420 / step))
    grid = Grid(shape, (step, step, step), (-230.0, -230.0, -210.0), rotation(0, 0, 0), np.zeros(3))
    slab = Slab(grid, slice(0, shape[0]), ())
    image = slab.full(-1000.0)
    return image, SoftParts(chest, step).lay(slab, image)


@settings(max_examples=20, deadline=None)
@given(
    centre=st.tuples(*[st.floats(-9, 9)] * 3),
    radii=st.tuples(*[st.floats(2.0, 8.0)] * 3),
    turn=st.tuples(*[st.floats(-80, 80)] * 3),
)
def test_a_stamped_ellipsoid_fills_its_volume(
    centre: tuple[float, float, float], radii: tuple[float, float, float], turn: tuple[float, float, float]
) -> None:
    one = ball(centre, radii)
    one = Splats(one.centres, rotation(*turn)[None], one.radii, one.weights)
    index, distance = Stamp(cube(36.0, 1.0)).distances(one, 2.0)
    assert len(np.unique(index)) == len(index)
    inside = np.sum(np.clip(0.5 - distance, 0, 1))
    assert inside == pytest.approx(4 / 3 * np.pi * np.prod(radii), rel=0.12, abs=25)


def test_a_stamp_leaves_no_trace_for_the_next() -> None:
    stamp = Stamp(cube(30.0, 1.0))
    first = stamp.distances(ball((0, 0, 0), (5, 5, 5)), 1.0)
    stamp.distances(ball((2, 0, 0), (8, 8, 8)), 1.0)
    again = stamp.distances(ball((0, 0, 0), (5, 5, 5)), 1.0)
    assert np.array_equal(np.sort(first[0]), np.sort(again[0]))
    assert np.sort(first[1]) == pytest.approx(np.sort(again[1]))


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_ribs_go_round_the_lungs_and_fall_forward(number: int) -> None:
    chest = Chest(person(6, number).thorax)
    image, lung = units(chest)
    for rib in range(1, RIBS + 1):
        for side in (1, -1):
            path, _ = rib_path(chest, rib, side)
            assert path[0, 2] > path[-1, 2]
            assert np.all(side * path[8:, 0] > 0)
            z, y, x = (np.rint((path[6:, n] - low) / 6.0).astype(int) for n, low in ((2, -230), (1, -230), (0, -210)))
            assert np.max(lung[z, y, x]) < 0.75
            assert np.mean(lung[z, y, x] > 0.5) < 0.1
    # The lungs hold litres, and lie to both sides.
    litres = lung.sum() * 6.0**3 / 1e6
    assert 2.2 < litres < 8.5
    assert 0.7 < lung[:, :, :35].sum() / lung[:, :, 35:].sum() < 2.0
    assert -900 < np.median(image[lung > 0.99]) < -780


def test_breath_lowers_the_diaphragm_and_lifts_the_ribs() -> None:
    shape = person(6, 1).thorax
    out, full = Chest(shape, breath=0.4), Chest(shape, breath=1.0)
    assert full.dome(1) < out.dome(1) - 10
    assert rib_path(full, 6, 1)[0][-1, 2] > rib_path(out, 6, 1)[0][-1, 2] + 2
    assert units(full, 8.0)[1].sum() > 1.1 * units(out, 8.0)[1].sum()


@pytest.mark.parametrize(("arms", "above"), [("up", True), ("down", False), ("forward", False)])
def test_the_arms_take_the_shoulder_with_them(arms: Arms, above: bool) -> None:
    chest = Chest(person(6, 2).thorax, arms=arms)
    shaft = [b.splats.centres for b in skeleton(chest) if b.tissue.name == "humeral shaft"]
    assert all((c[:, 2].mean() > chest.shape.clavicle_height) == above for c in shaft)
    resting = Chest(person(6, 2).thorax, arms="down")
    blades = [
        np.mean([b.splats.centres[:, 2].mean() for b in skeleton(c) if b.tissue.name == "scapula"])
        for c in (chest, resting)
    ]
    assert (blades[0] > blades[1] + 5) == above


def test_vessels_are_the_persons_own_and_follow_the_breath() -> None:
    shape, other = person(6, 1).thorax, person(6, 2).thorax
    assert trees(shape.vessels) is trees(shape.vessels)
    assert not np.array_equal(trees(shape.vessels)[0].end, trees(other.vessels)[0].end)
    full, out = (vessels(Chest(shape, breath=b))[0].centres for b in (1.0, 0.5))
    assert np.quantile(out[:, 2], 0.1) > np.quantile(full[:, 2], 0.1) + 4
    assert np.quantile(out[:, 2], 0.99) == pytest.approx(np.quantile(full[:, 2], 0.99), abs=4)
    side = full[np.abs(full[:, 0]) > 20]
    assert np.mean(side[:, 0] > 0) == pytest.approx(0.5, abs=0.06)


def sick(**severity: float) -> Findings:
    states = {name: State(value, "L", 77) for name, value in severity.items()}
    assert set(states) <= set(CHEST)
    return findings_of(Illness(states))


@pytest.mark.parametrize("supine", [False, True])
@pytest.mark.parametrize(
    ("finding", "lighter"),
    [
        (sick(effusion=0.9), False),
        (sick(consolidation=0.9), False),
        (sick(nodule=0.9), False),
        (sick(cardiomegaly=0.9), False),
        (sick(pneumothorax=0.9), True),
        (sick(emphysema=0.9), True),
    ],
)
def test_illness_changes_the_density_of_the_chest(finding: Findings, lighter: bool, supine: bool) -> None:
    shape = person(6, 3).thorax
    well, ill = (units(Chest(shape, 0.8, supine=supine, findings=f))[0] for f in (Findings(), finding))
    change = float((ill - well)[20:60].sum())
    assert (change < 0) == lighter
    assert abs(change) > 1e4


def test_nothing_is_found_in_the_well() -> None:
    assert findings_of(Illness({})) == Findings()


def test_years_bend_the_back() -> None:
    shape = person(6, 4).thorax
    older = aged(shape, 8.0)
    assert older.kyphosis > shape.kyphosis
    assert older.vertebra_density < shape.vertebra_density
    assert older.ribs == shape.ribs
    assert aged(shape, 0.0) == shape
