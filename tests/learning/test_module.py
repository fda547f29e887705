"""The training step: what is frozen stays, what is aligned learns, and every precision goes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from config.errors import TrainingError
from tests.learning.tiny import TinyNetwork, quiet, tiny_recipe, weights, write_films
from training.learning.data import Samples, TrainingImages
from training.learning.recipe import Alignment
from training.learning.run import Hardware, train
from training.learning.sampler import Draw
from training.learning.store import Record
from training.learning.teaching import teaching_of
from training.manifests.schema import Row


def _trained(tmp_path: Path, *changes: tuple[str, str]) -> dict[str, Tensor]:
    films = write_films(tmp_path / "films").parent
    recipe = tiny_recipe(films, ("steps = 6", "steps = 3"), *changes)
    train(recipe, tmp_path / "out", hardware=Hardware("cpu"), tell=quiet, say=lambda line: None)
    return weights(tmp_path / "out" / "checkpoints" / "last.ckpt")


def _fresh() -> dict[str, Tensor]:
    torch.manual_seed(5)
    return {f"network.{name}": value for name, value in TinyNetwork(8, 0.2).state_dict().items()}


def test_while_the_head_learns_nothing_else_moves(tmp_path: Path) -> None:
    before, after = _fresh(), _trained(tmp_path, ("batch_norm = true", "batch_norm = true\nhead_steps = 3"))
    assert torch.equal(before["network.layers.0.weight"], after["network.layers.0.weight"])
    assert not torch.equal(before["network.head.0.weight"], after["network.head.0.weight"])


@pytest.mark.parametrize("frozen", [True, False])
def test_batch_statistics_stay_where_they_are_frozen(tmp_path: Path, frozen: bool) -> None:
    before, after = _fresh(), _trained(tmp_path, ("batch_norm = true", f"batch_norm = {str(frozen).lower()}"))
    assert torch.equal(before["network.head.1.running_var"], after["network.head.1.running_var"]) is frozen
    assert not torch.equal(before["network.layers.0.weight"], after["network.layers.0.weight"])


def test_half_precision_trains(tmp_path: Path) -> None:
    after = _trained(tmp_path, ("checkpoint = 2", 'checkpoint = 2\nprecision = "bf16-mixed"'))
    assert all(torch.isfinite(value).all() for value in after.values() if isinstance(value, Tensor))
    assert after["network.layers.0.weight"].dtype == torch.float32


def test_differences_are_aligned_to_a_teacher(tmp_path: Path) -> None:
    table = '[alignment]\nweight = 0.1\nteachers = { DX = "imagenet" }\nsettings = { queries = 2 }\n\n[optimiser]'
    after = _trained(tmp_path, ("[optimiser]", table))
    queries = next(value for name, value in after.items() if name.endswith("student.queries"))
    assert queries.shape == (1, 2, 8)
    assert not any("network.network" in name for name in after), "the teacher is in the checkpoint"
    with (tmp_path / "out" / "logs" / "csv" / "run-1" / "metrics.csv").open(newline="") as file:
        assert any(row["train/alignment"] for row in csv.DictReader(file))


@pytest.mark.parametrize(
    ("teachers", "settings", "reason"),
    [
        ({"CT": "imagenet"}, {}, "ALIGNMENT"),
        ({"DX": "imagenet"}, {"colour": 1}, "ALIGNMENT"),
        ({"DX": "nobody"}, {}, "TEACHER_UNKNOWN"),
    ],
)
def test_a_teacher_that_cannot_teach_is_named(teachers: dict[str, str], settings: dict[str, int], reason: str) -> None:
    with pytest.raises(TrainingError) as caught:
        teaching_of(Alignment(weight=1, teachers=teachers, settings=settings), TinyNetwork(8, 0.0), ("DX",))
    assert caught.value.reason == reason


class _Volumes:
    """A store of an image and of a volume whose slices are numbered."""

    def planes(self, record: Record) -> np.ndarray:
        return np.broadcast_to(np.arange(record.planes, dtype=np.uint8)[:, None, None, None], (record.planes, 1, 4, 4))


@pytest.mark.parametrize(("mixed", "depths"), [(False, (1, 3)), (True, (3, 3))])
def test_slices_are_drawn_in_order_and_images_are_as_deep_as_volumes_where_both_meet(
    mixed: bool, depths: tuple[int, int]
) -> None:
    records = [Record("a", 0, 1, 1, "DX"), Record("b", 0, 9, 1, "CT")]
    rows = [Row("a", "p", "s"), Row("b", "q", "t")]
    samples = Samples(_Volumes(), records, rows, [0, 0], np.arange(2), 2, ("CT", "DX"))  # type: ignore[arg-type]
    images = TrainingImages(samples, 3, mixed)
    drawn = [[images[Draw(place, seed, True)] for seed in range(12)] for place in (0, 1)]
    assert tuple(len(one[0]["images"]) for one in drawn) == depths
    for item in drawn[1]:
        slices = item["images"][:, 0, 0, 0].tolist()
        assert slices == sorted(set(slices))
        assert int(item["modality"]) == 0
    assert len({tuple(item["images"][:, 0, 0, 0].tolist()) for item in drawn[1]}) > 3
