"""Landmarks in heat maps, and a training of them from phantoms to a bundle that serves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import EncoderError, TrainingError
from inference import networks
from inference.encoders.bundle import Bundle
from inference.imaging.grid import FieldOfView
from inference.imaging.head_frame import LANDMARKS, Landmarks, load_finder
from inference.imaging.pose import head_pose
from inference.imaging.skin import Skin, find_nose, find_skin
from inference.networks.landmarks import STRIDE, gaussian_maps, peaks
from tests.imaging.heads import head
from training.faces.fitting import Length, Machine
from training.faces.landmarks import LANDMARK_SEED, Draws, Task, heat_map_loss, main, train
from training.faces.scans import Plan, Scan, coarse_dials, scans_in, split
from training.studies.landmarks import FLOOR, NETWORK, OUTLINE, Look, agreement, looks, summed

TINY = Task(persons=2, edge=16, spacing=14.0, channels=8, depth=1, seed=7792)
LENGTH = Length(steps=4, batch=2, checkpoint=2, seed=1)


def quiet(*_: object) -> None:
    """Nobody is told."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that ended, with its phantoms."""
    out = tmp_path_factory.mktemp("landmarks")
    train(TINY, LENGTH, out, quiet, Machine("cpu"))
    return out


@pytest.fixture(scope="module")
def scans(folder: Path) -> list[Scan]:
    return scans_in(folder / "phantoms", Plan(TINY.persons, TINY.seed), quiet)


places = st.lists(st.floats(6.0, 40.0), min_size=3, max_size=3)


@settings(max_examples=30, deadline=None)
@given(places)
def test_a_place_between_voxels_is_read_back_from_its_heat_map(place: list[float]) -> None:
    wanted = torch.tensor([[place]])
    maps = gaussian_maps(wanted, torch.ones(1, 1, dtype=torch.bool), (24, 24, 24), 1.2)
    found, confidence = peaks(maps)
    assert (found - wanted).abs().max() < 0.35
    assert float(confidence) > 0.5


def test_a_landmark_that_is_not_there_has_no_heat_map_and_no_confidence() -> None:
    maps = gaussian_maps(torch.full((1, 2, 3), 20.0), torch.tensor([[True, False]]), (20, 20, 20), 1.0)
    assert maps[0, 0].max() == pytest.approx(1.0)
    assert maps[0, 1].max() == 0.0
    _, confidence = peaks(maps - 0.01)
    assert confidence[0].tolist() == pytest.approx([0.99, 0.0], abs=0.02)


def test_two_peaks_of_one_height_are_no_knowledge() -> None:
    there = torch.ones(1, 1, dtype=torch.bool)
    one = gaussian_maps(torch.tensor([[[8.0, 8.0, 8.0]]]), there, (24, 24, 24), 1.0)
    other = gaussian_maps(torch.tensor([[[36.0, 36.0, 36.0]]]), there, (24, 24, 24), 1.0)
    assert float(peaks(one)[1]) > 0.9
    assert float(peaks(one + other)[1]) == pytest.approx(float(peaks(one)[1]) / 2, abs=0.1)


def test_the_network_gives_one_map_for_each_landmark() -> None:
    network = networks.build("landmarks-3d", {"landmarks": 3, "channels": 8, "depth": 2})
    maps = network(torch.rand(2, 2, 24, 20, 28))
    assert maps.shape == (2, 3, 12, 10, 14)
    assert STRIDE == 2
    assert network.dimension == 3


@pytest.mark.parametrize("wrong", [{"landmarks": 0}, {"channels": 9}, {"depth": 0}, {"layers": 2}])
def test_settings_that_it_cannot_take_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(EncoderError) as caught:
        networks.build("landmarks-3d", wrong)
    assert caught.value.reason == "NETWORK_SETTINGS"


def test_it_learns_one_head(scans: list[Scan]) -> None:
    """Eighty steps on one draw: the loss falls to less than a third, and every peak moves to its landmark."""
    torch.manual_seed(2)
    task = Task(persons=2, edge=16, spacing=14.0, channels=16, depth=1)
    draws = (Draws(scans, task)(n) for n in range(200))
    item = next(one for one in draws if bool(one["present"].all()) and float(one["x"][0].mean()) > 0.1)
    batch = {name: value[None] for name, value in item.items()}
    network = networks.build("landmarks-3d", task.network)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    first = last = heat_map_loss(network, batch).item()
    for _ in range(80):
        loss = heat_map_loss(network, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        last = loss.item()
    assert last < first / 3
    with torch.inference_mode():
        found, confidence = peaks(network.eval()(batch["x"]))
    assert (found - batch["places"]).norm(dim=2).max() < 2.5
    assert confidence.min() > 0.2


def test_a_draw_is_a_function_of_its_number(scans: list[Scan]) -> None:
    draws = Draws(scans, TINY)
    for name, value in draws(5).items():
        assert torch.equal(value, draws(5)[name])
    assert not torch.equal(draws(5)["x"], draws(6)["x"])


def test_places_of_draws_are_where_the_head_is(scans: list[Scan]) -> None:
    """However it was turned, scaled and cut: an eye is inside of the body, the tip of the nose at its surface."""
    from scipy.ndimage import map_coordinates

    draws = Draws(scans, Task(persons=2, edge=32, spacing=7.0))
    eyes, tips = [], []
    for number in range(40):
        item = draws(number)
        body = item["x"][0].numpy()
        for n, found in ((0, eyes), (1, eyes), (2, tips)):
            if item["present"][n]:
                found.append(map_coordinates(body, item["places"][n].numpy()[:, None], order=1)[0])
    assert len(eyes) > 20 < 2 * len(tips)
    assert np.mean(np.array(eyes) > 0.8) > 0.9
    assert 0.2 < np.mean(tips) < 0.8


def test_phantoms_are_made_once_and_split_by_person(scans: list[Scan], folder: Path) -> None:
    files = sorted((folder / "phantoms").iterdir())
    assert {scan.kind for scan in scans} == {"head-ct", "head-mr"}
    assert len(files) == len(scans) == 4
    times = [path.stat().st_mtime_ns for path in files]
    again = scans_in(folder / "phantoms", Plan(TINY.persons, TINY.seed), quiet)
    assert [path.stat().st_mtime_ns for path in files] == times
    np.testing.assert_array_equal(again[0].points, scans[0].points)
    learnt, held_out = split(scans, 0.1)
    assert {scan.person for scan in learnt}.isdisjoint({scan.person for scan in held_out})
    assert held_out


def test_the_bundle_is_whole_and_serves(folder: Path) -> None:
    bundle = Bundle.read(folder / "face-landmarks")
    manifest = bundle.manifest
    assert manifest.dimension == len(LANDMARKS)
    assert manifest.metrics["held_out"]["scans"] >= 0
    assert "phantoms" in manifest.trained_on
    assert manifest.licence
    assert manifest.intended_use
    found = load_finder(folder / "face-landmarks").find(find_skin(head()))
    assert found.points.shape == (5, 3)
    assert np.isfinite(found.points).all()
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()


def test_a_bundle_of_another_network_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "face-landmarks"
    copy.mkdir()
    for path in (folder / "face-landmarks").iterdir():
        text = path.read_bytes()
        (copy / path.name).write_bytes(
            text.replace(b'"landmarks-3d"', b'"resnet18"') if path.suffix == ".toml" else text
        )
    with pytest.raises(EncoderError) as caught:
        load_finder(copy)
    assert caught.value.reason == "BUNDLE_DAMAGED"


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(folder: Path, tmp_path: Path) -> None:
    from training.faces.fitting import fit

    class StoppedError(Exception):
        pass

    scans = scans_in(folder / "phantoms", Plan(TINY.persons, TINY.seed), quiet)
    draws = Draws(scans, TINY)

    def trained(out: Path, stop: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        network = networks.build("landmarks-3d", TINY.network)

        def drawn(number: int) -> dict[str, torch.Tensor]:
            if number >= stop:
                raise StoppedError
            return draws(number)

        fit(network, heat_map_loss, drawn, out, LENGTH, quiet, Machine("cpu"))
        return network.state_dict()

    whole = trained(tmp_path / "whole", 100)
    with pytest.raises(StoppedError):
        trained(tmp_path / "parts", 6)
    parts = trained(tmp_path / "parts", 100)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value)


def test_another_task_in_the_same_folder_is_refused(folder: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        train(TINY, Length(steps=9, batch=2), folder, quiet, Machine("cpu"))
    assert caught.value.reason == "RECIPE_CHANGED"
    assert json.loads((folder / "settings.json").read_text())["task"]["persons"] == 2


def test_the_command_needs_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--persons", "2"])
    assert "--out" in capsys.readouterr().err
    assert LANDMARK_SEED == 7712


class AlwaysThere:
    """Finds the same landmarks in whatever it is shown."""

    def find(self, skin: Skin) -> Landmarks:
        eyes, corners = [[31.0, -70.0, 36.0], [-31.0, -70.0, 36.0]], [[24.0, -85.0, -32.0], [-24.0, -85.0, -32.0]]
        points = np.array([*eyes, [0.0, -110.0, 0.0], *corners])
        return Landmarks(points, np.full(5, 0.9))


def test_the_study_measures_distances_from_the_truth_in_any_position() -> None:
    told: list[int] = []
    lain = list(looks(AlwaysThere(), "head-mr", coarse_dials(), 2, 7794, False, told.append))
    turned = list(looks(AlwaysThere(), "head-mr", coarse_dials(), 2, 7794, True, told.append))
    assert told == [1, 1, 1, 1]
    assert [one.person for one in lain] == [one.person for one in turned] == [1, 2]
    for one in (*lain, *turned):
        assert one.believed
        assert np.isfinite(one.errors[NETWORK]).all() == one.whole
    # A head that lies straight is near where most noses are; one that was turned is not.
    assert np.nanmax(lain[0].errors[NETWORK]) < 80.0 < np.nanmax([one.errors[NETWORK] for one in turned])
    assert lain[0].errors[OUTLINE][2] < 25.0
    assert np.isnan(lain[0].errors[OUTLINE][[0, 1, 3, 4]]).all()


def test_figures_of_the_study_are_means_with_intervals_over_persons() -> None:
    nothing = np.full(5, np.nan)
    found = [
        Look(n, {NETWORK: np.full(5, float(n)), OUTLINE: nothing}, np.full((5, 3), 10.0 * (n % 2)), n != 4, n > 1)
        for n in range(1, 5)
    ]
    group = summed(found, 200, 0)
    eye = group.error[NETWORK]["left eye"]
    assert eye.value == pytest.approx(2.5)
    assert eye.low is not None
    assert eye.high is not None
    assert 1.0 <= eye.low < 2.5 < eye.high <= 4.0
    assert (eye.n, eye.patients) == (4, 4)
    assert group.error[OUTLINE]["nose tip"].value is None
    # Nobody's own place counts for the mean that it is measured from: one like it is left, and two unlike it.
    assert group.error[FLOOR]["nose tip"].value == pytest.approx(np.sqrt(3) * 20.0 / 3.0)
    assert group.believed.value == pytest.approx(2 / 3)
    assert group.wrongly.value == 1.0


def test_a_head_whose_truth_nobody_knows_is_compared_with_its_outline() -> None:
    volume = head()
    skin, field = find_skin(volume), FieldOfView.of(volume)
    tip = head_pose(skin, field, find_nose(skin, field)).tip
    turn = np.diag([-1.0, 1.0, -1.0])

    class Turned(AlwaysThere):
        def find(self, skin: Skin) -> Landmarks:
            there = super().find(skin)
            return Landmarks((there.points - there.points[2] + tip + 3.0 / np.sqrt(3)) @ turn.T, there.confidence)

    found = agreement(Turned(), volume, "a head", turn)
    assert found.tips == pytest.approx(3.0, abs=1e-6)
    assert found.frames is not None
    assert found.frames < 25.0
    assert agreement(Turned(), replace(volume, pixels=volume.pixels[:20]), "a neck", turn).tips is None
