"""A whole training: data, network, Lightning's loop with its checkpoints and logs, and the bundle at the end."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from inference import networks
from inference.encoders.memory import keep_freed_memory
from training.learning.best import best_queries, best_weights
from training.learning.catalogue import Tell
from training.learning.checkpoints import checkpoints_of
from training.learning.data import Images
from training.learning.export import Outcome, export_bundle
from training.learning.folder import Folder, is_first_process
from training.learning.losses import LogitsCrossEntropy, WeightedLoss, build_losses
from training.learning.module import Learner
from training.learning.prepare import Prepared, prepare_data
from training.learning.recipe import Recipe
from training.learning.start import started
from training.learning.teaching import Teaching, teaching_of

Say = Callable[[str], None]
# Puts other batches in the place of those that were prepared, say.
Arrange = Callable[[Recipe, Prepared], Prepared]
# Steps between two lines of the logs.
_LOG_EVERY = 10


@dataclass(frozen=True, slots=True)
class Hardware:
    """What to train on. ``workers`` load batches, ``processes`` decode images; ``devices`` are those of one node."""

    accelerator: str = "auto"
    devices: int = 1
    workers: int = 0
    processes: int = 1


def train(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    hardware: Hardware | None = None,
    arrange: Arrange | None = None,
    tell: Tell,
    say: Say,
) -> Outcome | None:
    """Trains a recipe in ``out`` and exports ``out/<name>``; processes other than the first return None.

    Parameters
    ----------
    resume
        goes on behind the last checkpoint, as if nothing had happened.
    arrange
        what a method does with the data in a way of its own, as its order; None is the recipe's.
    tell, say
        are told (stage, done, of how many), and lines for people.

    Raises
    ------
    TrainingError
        with the reason; what ``out`` holds can be gone on with.
    """
    keep_freed_memory()
    chosen, folder = hardware or Hardware(), Folder(out)
    if is_first_process():
        folder.claim(recipe, resume)
    torch.manual_seed(recipe.seed)
    network = networks.build(recipe.network.name, recipe.network.settings)
    data = prepare_data(recipe, folder, getattr(network, "classes", ()), chosen.processes, tell)
    if arrange is not None:
        data = arrange(recipe, data)
    for note in data.notes:
        say(f"{note.name}: {note.count} {note.text}")
    going_on = resume and folder.last.is_file()
    if not going_on:
        started(recipe, network, data.train, folder, _device(chosen), tell)
    queries: dict[str, Tensor] = {}
    if data.steps:
        learner = _learner(recipe, network, data)
        images = Images(recipe, data.train, data.held_out, data.batches, chosen.workers)
        with _quiet_lightning():
            trainer = _trainer(recipe, folder, data, chosen, tell, say)
            trainer.fit(learner, datamodule=images, ckpt_path=str(folder.last) if going_on else None)
        if learner.teaching is not None and is_first_process():
            queries = best_queries(recipe, learner.teaching, folder, data.train.modalities)
    if not is_first_process():
        return None
    best = best_weights(recipe, network, data.held_out, folder, _device(chosen), tell)
    return export_bundle(recipe, best, queries, data, folder, str(_device(chosen)), tell)


def _learner(recipe: Recipe, network: nn.Module, data: Prepared) -> Learner:
    dimension = cast(int, network.dimension)
    if recipe.task == "kind":
        losses = [WeightedLoss("cross-entropy", 1.0, LogitsCrossEntropy(**recipe.losses[0].settings), None, False)]
    else:
        losses = build_losses(recipe.losses, data.train.class_count, dimension)
    teaching: Teaching | None = None
    if recipe.alignment is not None:
        teaching = teaching_of(recipe.alignment, network, data.train.modalities)
    return Learner(recipe, network, losses, teaching, data.held_out, data.steps)


def _trainer(recipe: Recipe, folder: Folder, data: Prepared, hardware: Hardware, tell: Tell, say: Say) -> Trainer:
    length, several = recipe.length, _processes(hardware) > 1
    run = f"run-{len(list(folder.logs.glob('csv/*'))) + 1}"
    ddp = DDPStrategy(find_unused_parameters=recipe.freeze.head_steps > 0 or recipe.alignment is not None)
    return Trainer(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        strategy=ddp if several else "auto",
        # The batches of validation are shared out by the loaders, which add no image twice to fill one up.
        use_distributed_sampler=False,
        sync_batchnorm=several and torch.cuda.is_available() and not recipe.freeze.batch_norm,
        precision="bf16-mixed" if length.precision == "bf16-mixed" else "32-true",
        max_epochs=1,
        max_steps=data.steps,
        accumulate_grad_batches=length.accumulate,
        gradient_clip_val=recipe.optimiser.clip or None,
        val_check_interval=recipe.validation.every * length.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=min(_LOG_EVERY, data.steps),
        logger=[
            CSVLogger(folder.logs, name="csv", version=run),
            TensorBoardLogger(folder.logs, name="tensorboard", version=run),
        ],
        callbacks=[*checkpoints_of(recipe, folder), LearningRateMonitor("step"), _Teller(data.steps, tell, say)],
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder.path,
    )


class _Teller(Callback):
    """Tells of every step and of every test."""

    def __init__(self, steps: int, tell: Tell, say: Say) -> None:
        self._steps, self._tell, self._say = steps, tell, say

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.is_global_zero:
            self._tell("training", trainer.global_step, self._steps)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            found = {name: float(value) for name, value in trainer.callback_metrics.items() if "validation/" in name}
            figures = ", ".join(f"{name.removeprefix('validation/')} {value:.3f}" for name, value in found.items())
            self._say(f"step {trainer.global_step}: {figures}")


def _processes(hardware: Hardware) -> int:
    return max(hardware.devices, int(os.environ.get("WORLD_SIZE", "1")))


def _device(hardware: Hardware) -> torch.device:
    wanted = hardware.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if wanted else torch.device("cpu")


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without what Lightning says of itself, and its warnings of what is meant to be so."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Our loader starts where the checkpoint ends (data.Images), which Lightning cannot see.
        warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before the epoch ended")
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
        # A person chooses the number of workers; on two cores none is right.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        # Lightning asks torch in a way that torch has given up.
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        try:
            yield
        finally:
            log.setLevel(level)
