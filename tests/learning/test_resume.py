"""A training that is killed goes on as if it had not been; two processes train as one."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor

from config.errors import TrainingError
from tests.learning.tiny import quiet, tiny_recipe, weights, write_films
from training.learning.run import Hardware, train

CPU = Hardware(accelerator="cpu")
# A loss with a memory, dropout and accumulation: all of them have a state that a checkpoint must not lose.
HARD = (
    ('name = "triplet"', 'name = "contrastive"\nmemory = 24'),
    ("checkpoint = 2", "checkpoint = 2\naccumulate = 2"),
)
ALIGNMENT = """[alignment]
weight = 0.5
teachers = { DX = "imagenet" }
settings = { queries = 2 }
"""
PLAIN = (("dropout = 0.2", "dropout = 0.0"),)


class StoppedError(Exception):
    """Somebody pulled the plug."""


def _child(films: Path, out: Path, *changes: tuple[str, str]) -> list[str]:
    pairs = [f"{old}=>{new}" for old, new in changes]
    return [sys.executable, "-W", "ignore", "-m", "tests.learning.child", str(films), str(out), "1", *pairs]


def _same(left: dict[str, Tensor], right: dict[str, Tensor], tolerance: float) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        if isinstance(value, Tensor):
            assert torch.allclose(value.double(), right[name].double(), rtol=0, atol=tolerance), name


def test_killed_in_the_middle_and_resumed_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    films = write_films(tmp_path / "films").parent
    recipe = tiny_recipe(films, *HARD)
    train(recipe, tmp_path / "whole", hardware=CPU, tell=quiet, say=lambda line: None)

    with subprocess.Popen(_child(films, tmp_path / "out", *HARD), stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.strip() == "training 3":
                child.kill()
                break
    assert child.wait() == -9
    assert not (tmp_path / "out" / "tiny").exists()
    outcome = train(recipe, tmp_path / "out", resume=True, hardware=CPU, tell=quiet, say=lambda line: None)

    assert outcome is not None
    for name in ("last.ckpt", "best.ckpt"):
        _same(*(weights(tmp_path / run / "checkpoints" / name) for run in ("whole", "out")), tolerance=0.0)
    resumed = sorted((tmp_path / "out" / "logs" / "csv").iterdir())[-1]
    steps = [int(row["step"]) for row in _log(resumed)]
    assert min(steps) >= 2, "steps before the checkpoint were taken again"


@pytest.mark.parametrize("stops", [("step 3:",), ("training 2", "training 3"), ("training 4", "training 5")])
def test_stopped_anywhere_and_resumed_it_ends_the_same(tmp_path: Path, stops: tuple[str, ...]) -> None:
    # A checkpoint on every step: on that of a test, and between two batches of one step, it could be a wrong one.
    recipe = tiny_recipe(write_films(tmp_path / "films").parent, HARD[0], ("checkpoint = 2", "checkpoint = 1"),
                         ("steps = 6", "steps = 6\naccumulate = 2"))  # fmt: skip
    train(recipe, tmp_path / "whole", hardware=CPU, tell=quiet, say=lambda line: None)
    for number, stop in enumerate((*stops, "nowhere")):

        def hear(line: str, stop: str = stop) -> None:
            if line.startswith(stop):
                raise StoppedError

        with pytest.raises(StoppedError) if stop != "nowhere" else nullcontext():
            train(recipe, tmp_path / "out", resume=number > 0, hardware=CPU,
                  tell=lambda stage, done, total: hear(f"{stage} {done}"), say=hear)  # fmt: skip
    for name in ("last.ckpt", "best.ckpt"):
        _same(*(weights(tmp_path / run / "checkpoints" / name) for run in ("whole", "out")), tolerance=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("alignment", ["", ALIGNMENT], ids=["plain", "aligned"])
def test_two_processes_train_as_one_and_judge_every_image_once(tmp_path: Path, alignment: str) -> None:
    changes = (*PLAIN, ("[optimiser]", f"{alignment}\n[optimiser]"))
    # An odd number of held-out images: a sampler that fills up would show one of them twice.
    films = write_films(tmp_path / "films", (3,) * 13 + (2, 1, 1)).parent
    train(tiny_recipe(films, *changes), tmp_path / "one", hardware=CPU, tell=quiet, say=lambda line: None)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2")
    command = _child(films, tmp_path / "two", *changes)
    module = command.index("-m")
    command[command.index("1")] = "2"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *launcher, *command[module:]],
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (weights(tmp_path / run / "checkpoints" / "last.ckpt") for run in ("one", "two"))
    _same(one, two, tolerance=1e-5)
    figures = [
        [row["validation/map"] for row in _log(tmp_path / run / "logs" / "csv" / "run-1") if row["validation/map"]]
        for run in ("one", "two")
    ]
    assert figures[0] == pytest.approx(figures[1])
    assert len(figures[0]) == 2


def test_resuming_needs_the_same_recipe_and_the_same_data(tmp_path: Path) -> None:
    films = write_films(tmp_path / "films").parent
    train(tiny_recipe(films), tmp_path / "out", hardware=CPU, tell=quiet, say=lambda line: None)
    bundle = (tmp_path / "out" / "tiny" / "bundle.toml").read_bytes()
    for reason, resume, changes in (
        ("OUT_IN_USE", False, ()),
        ("RECIPE_CHANGED", True, (("steps = 6", "steps = 8"),)),
    ):
        with pytest.raises(TrainingError) as caught:
            recipe = tiny_recipe(films, *changes)
            train(recipe, tmp_path / "out", resume=resume, hardware=CPU, tell=quiet, say=lambda line: None)
        assert caught.value.reason == reason
    write_films(films, (3,) * 17)
    with pytest.raises(TrainingError) as caught:
        train(tiny_recipe(films), tmp_path / "out", resume=True, hardware=CPU, tell=quiet, say=lambda line: None)
    assert caught.value.reason == "DATA_CHANGED"
    assert (tmp_path / "out" / "tiny" / "bundle.toml").read_bytes() == bundle


def _log(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))
