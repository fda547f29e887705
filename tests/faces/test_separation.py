"""Face told from what is around it: the truth of scenes, the network's planes, and a training that ends in a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from config.errors import CommandError, EncoderError
from inference import networks
from inference.encoders.bundle import Bundle
from inference.imaging.depth import EXTENT_MM, DepthMap
from inference.imaging.face_mask import FaceSeparator, load_separator, planes_of
from inference.imaging.pose import FRONTAL_AXES, Pose
from training.cohort.head.landmarks import distance_to_skin
from training.cohort.head.today import head_of
from training.cohort.person import person
from training.cohort.visit import visit
from training.faces import clutter
from training.faces.fitting import Length, Machine
from training.faces.scenes import Scenes, Stage, as_drawn, is_face, scenes_in
from training.faces.separation import Draws, Task, mask_loss, overlaps, train

TINY = Task(persons=2, scenes=3, size=32, channels=4, depth=2, seed=7793)
LENGTH = Length(steps=3, batch=2, checkpoint=2, seed=1)


def quiet(*_: object) -> None:
    """Nobody is told."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that ended, with its scenes."""
    out = tmp_path_factory.mktemp("separation")
    train(TINY, LENGTH, out, quiet, Machine("cpu"))
    return out


@pytest.fixture(scope="module")
def scenes(folder: Path) -> list[Scenes]:
    return scenes_in(folder / "scenes", TINY.seed, (1, 2), TINY.scenes, TINY.size, quiet)


@pytest.fixture(scope="module")
def stage() -> Stage:
    who = person(7793, 5)
    when = visit(who, 0)
    return Stage(head_of(who, when, when.head_ct))


def test_face_is_part_of_what_is_seen_and_most_of_a_bare_head(scenes: list[Scenes]) -> None:
    for own in scenes:
        assert own.mask.shape == own.face.shape == (TINY.scenes, TINY.size, TINY.size)
        assert not (own.face & ~own.mask).any()
        assert (own.face.mean(axis=(1, 2)) > 0.15).all()
    floor = overlaps(None, scenes)
    assert floor.min() > 0.3
    assert floor.mean() < 0.98


def test_scenes_are_kept_and_the_same_every_time(folder: Path, scenes: list[Scenes]) -> None:
    times = [path.stat().st_mtime_ns for path in sorted((folder / "scenes").iterdir())]
    again = scenes_in(folder / "scenes", TINY.seed, (1, 2), TINY.scenes, TINY.size, quiet)
    assert [path.stat().st_mtime_ns for path in sorted((folder / "scenes").iterdir())] == times
    np.testing.assert_array_equal(again[1].depth, scenes[1].depth)


def test_nose_chin_and_brow_are_face_and_neck_ear_and_crown_are_not(stage: Stage) -> None:
    s = stage.head.shape
    places = {
        "brow": ((0.0, stage.head.front, s.brow_height + 10), True),
        "nose": (tuple(stage.tip), True),
        "chin": ((0.0, stage.head.chin_y - 8, s.chin_z + 6), True),
        "cheek": ((stage.head.zygion - 8, stage.head.front + 30, s.cheekbone_height), True),
        "neck": ((0.0, stage.head.chin_y + 25, s.chin_z - 40), False),
        "ear": ((stage.head.half_breadth, 8.0, 0.0), False),
        "crown": ((0.0, 0.0, s.vault_height), False),
    }
    found = is_face(stage.head, np.array([place for place, _ in places.values()]))
    assert dict(zip(places, found.tolist(), strict=True)) == {name: truth for name, (_, truth) in places.items()}


@pytest.mark.parametrize("kind", ["hand", "tube", "strap", "collar", "sheet", "rest", "table"])
def test_clutter_stands_out_of_the_head_and_is_drawn_anew(stage: Stage, kind: str) -> None:
    """Every kind reaches further out than the skin somewhere, or it would never be seen."""
    make = getattr(clutter, kind)
    drawn = []
    for seed in range(3):
        drawn.append(np.concatenate([np.stack(one.box()) for one in make(stage.head, np.random.default_rng(seed))]))
        assert distance_to_skin(stage.head, drawn[-1]).max() > 5.0
    assert not np.array_equal(drawn[0], drawn[1])


def test_what_is_before_the_face_is_not_face(stage: Stage) -> None:
    """Some scene hides the middle of the face: there something is nearer than the skin, and is no face."""
    rng = np.random.default_rng(5)
    for _ in range(40):
        found, face = stage.scene(32, rng)
        assert face.any()
        middle = np.s_[12:20, 12:20]
        hiding = (found.mask & ~face)[middle]
        if hiding.sum() > 4 < face[middle].sum():
            break
    else:
        pytest.fail("no scene of forty hides a part of the face")
    assert np.median(found.depth[middle][hiding]) < np.median(found.depth[middle][face[middle]]) + 15.0


def test_planes_keep_what_is_known_and_average_only_that() -> None:
    depth = np.zeros((64, 64), np.float32)
    depth[:, 32:] = 40.0
    mask = np.ones((64, 64), bool)
    mask[:, 31] = False
    near, known = planes_of(depth, mask, 16)
    assert near.shape == (16, 16)
    assert near[0, 0] == pytest.approx(95 / 110, abs=1e-5)
    # The pixel with a gap shows what is known of it, and says that it knows less.
    assert near[0, 7] == pytest.approx(95 / 110, abs=1e-5)
    assert known[0, 7] == pytest.approx(0.75)
    assert near[0, 12] == pytest.approx(55 / 110, abs=1e-5)
    assert planes_of(depth, np.zeros_like(mask), 16).max() == 0.0


def test_it_learns_a_scene(scenes: list[Scenes]) -> None:
    torch.manual_seed(4)
    item = Draws(scenes, TINY)(3)
    batch = {name: value[None] for name, value in item.items()}
    network = networks.build("face-mask", {"channels": 8, "depth": 2})
    optimiser, loss = torch.optim.Adam(network.parameters(), 1e-2), mask_loss()
    first = loss(network, batch).item()
    for _ in range(40):
        found = loss(network, batch)
        optimiser.zero_grad()
        found.backward()
        optimiser.step()
    assert loss(network, batch).item() < first / 2


class Says(torch.nn.Module):
    """A network that calls face what it is told to."""

    step = 1

    def __init__(self, face: torch.Tensor) -> None:
        super().__init__()
        self.logits = torch.where(face, 9.0, -9.0)[None, None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits


def test_a_separator_keeps_a_part_of_the_mask_at_any_size(scenes: list[Scenes]) -> None:
    depth, mask, face = as_drawn(scenes[0], 0)
    separator = FaceSeparator(Says(torch.from_numpy(face)), TINY.size)
    pose = Pose(np.zeros(3), FRONTAL_AXES)
    kept = separator(DepthMap(depth, mask, EXTENT_MM / TINY.size, pose, "cpu"))
    np.testing.assert_array_equal(kept, face)
    large = DepthMap(depth.repeat(4, 0).repeat(4, 1), mask.repeat(4, 0).repeat(4, 1), 1.0, pose, "cpu")
    kept = separator(large)
    assert kept.shape == (128, 128)
    assert not (kept & ~large.mask).any()
    assert (kept == face.repeat(4, 0).repeat(4, 1)).mean() > 0.95


def test_a_network_that_leaves_nothing_is_not_believed(scenes: list[Scenes]) -> None:
    depth, mask, _ = as_drawn(scenes[0], 0)
    separator = FaceSeparator(Says(torch.zeros(TINY.size, TINY.size, dtype=torch.bool)), TINY.size)
    found = DepthMap(depth, mask, EXTENT_MM / TINY.size, Pose(np.zeros(3), FRONTAL_AXES), "cpu")
    np.testing.assert_array_equal(separator(found), mask)


def test_the_bundle_is_whole_and_serves(folder: Path, scenes: list[Scenes]) -> None:
    manifest = Bundle.read(folder / "face-mask").manifest
    held_out = manifest.metrics["held_out"]
    assert held_out["persons"] == 1
    assert 0.0 <= held_out["mean_overlap"] <= 1.0
    assert held_out["mean_overlap_without"] == pytest.approx(overlaps(None, scenes[1:]).mean(), abs=1e-3)
    found = overlaps(load_separator(folder / "face-mask"), scenes)
    assert found.shape == (2 * TINY.scenes,)


def test_a_bundle_whose_size_its_network_cannot_take_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "face-mask"
    copy.mkdir()
    for path in (folder / "face-mask").iterdir():
        content = path.read_bytes()
        (copy / path.name).write_bytes(
            content.replace(b"size = 32", b"size = 33") if path.suffix == ".toml" else content
        )
    with pytest.raises(EncoderError) as caught:
        load_separator(copy)
    assert caught.value.reason == "BUNDLE_DAMAGED"


@pytest.mark.parametrize("wrong", [{"persons": 1}, {"scenes": 0}, {"size": 30}])
def test_a_task_that_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(CommandError):
        replace(TINY, **wrong)
