"""When a training is written down, so that it can go on from there.

Lightning's own ModelCheckpoint keeps the best weights. Where to go on from is kept here, because on a step that is
validated the checkpoint has to come after the test: a training that went on from before it would skip the test, and
forget what the best figure was and how long ago.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping, ModelCheckpoint

from training.learning.folder import Folder
from training.learning.recipe import Recipe
from training.learning.validation import ERRORS


def checkpoints_of(recipe: Recipe, folder: Folder) -> list[Callback]:
    """Early stopping, the best weights, and the last state; in this order, so that the last knows of the others."""
    figure = recipe.validation.figure
    monitor, mode = f"validation/{figure}", "min" if figure in ERRORS else "max"
    return [
        EarlyStopping(monitor, mode=mode, patience=recipe.validation.patience, check_on_train_epoch_end=False),
        ModelCheckpoint(
            folder.best.parent, folder.best.stem, monitor=monitor, mode=mode, save_weights_only=True,
            enable_version_counter=False,
        ),
        LastState(folder.last, recipe.length.checkpoint, recipe.validation.every),
    ]  # fmt: skip


class LastState(Checkpoint):
    """Writes the whole state every ``steps`` steps, and after every test (each ``tests`` steps); atomically."""

    def __init__(self, path: Path, steps: int, tests: int) -> None:
        self._path, self._steps, self._tests = path, steps, tests
        self._saved = 0

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        self._saved = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        step = trainer.global_step
        if step % self._steps == 0 and step % self._tests != 0:
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        # With accumulation several batches end at one step; only the first of them has just changed the weights.
        if trainer.global_step != self._saved:
            trainer.save_checkpoint(self._path)
            self._saved = trainer.global_step
