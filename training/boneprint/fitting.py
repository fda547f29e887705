"""One training on Lightning: its checkpoints and logs in a folder, from where it was cut off, to its best weights."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from inference.whole_file import whole_file
from training.boneprint.data import PairBatches
from training.boneprint.learner import PairLearner
from training.learning.catalogue import Tell

Say = Callable[[str], None]
# Steps between two lines of the log.
_LOG_EVERY = 10


def fit(
    learner: PairLearner, batches: PairBatches, folder: Path, stage: str, *, accelerator: str, tell: Tell, say: Say
) -> None:
    """Trains, or goes on with what ``folder`` holds, and leaves ``learner`` with the weights validation liked best.

    ``tell`` is told (stage, steps done, of how many), ``say`` a line about every look at the held-out persons.

    Raises
    ------
    TrainingError
        ``NOT_FINITE``; what the folder holds can be gone on with.
    """
    best, last, ended = (folder / name for name in ("best.ckpt", "last.ckpt", "ended"))
    if not ended.is_file():
        with _quiet_lightning():
            trainer = _trainer(learner, folder, best, last, stage, accelerator, tell, say)
            trainer.fit(learner, datamodule=batches, ckpt_path=str(last) if last.is_file() else None)
        with whole_file(ended) as file:
            file.write(f"{learner.batches_seen}\n".encode())
    saved = torch.load(best, map_location="cpu", weights_only=True)
    learner.cpu().load_state_dict(saved["state_dict"])
    learner.eval()


def _trainer(
    learner: PairLearner, folder: Path, best: Path, last: Path, stage: str, accelerator: str, tell: Tell, say: Say
) -> Trainer:
    own, figure = learner.length, f"validation/{learner.figure}"
    mode = "min" if learner.smaller else "max"
    # A training that optimises by hand clips by hand.
    clip = own.optimiser.clip if learner.automatic_optimization else 0.0
    logs = folder / "logs"
    return Trainer(
        accelerator=accelerator,
        devices=1,
        precision="bf16-mixed" if own.precision == "bf16-mixed" else "32-true",
        max_epochs=1,
        max_steps=-1,
        gradient_clip_val=clip or None,
        val_check_interval=min(own.every, own.steps),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=min(_LOG_EVERY, own.steps),
        logger=CSVLogger(logs, name="", version=f"run-{len(list(logs.glob('run-*'))) + 1}"),
        callbacks=[
            EarlyStopping(figure, mode=mode, patience=own.patience, check_on_train_epoch_end=False),
            ModelCheckpoint(
                folder, best.stem, monitor=figure, mode=mode, save_weights_only=True, enable_version_counter=False
            ),
            _LastState(last, own.checkpoint, min(own.every, own.steps)),
            _Teller(stage, own.steps, tell, say),
        ],
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


class _LastState(Checkpoint):
    """Writes the whole state every ``steps`` batches and after every look at the held-out persons, never before one.

    A training that went on from before a look would skip it, and forget what the best figure was and how long ago.
    """

    def __init__(self, path: Path, steps: int, looks: int) -> None:
        self._path, self._steps, self._looks = path, steps, looks

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        seen = cast(PairLearner, pl_module).batches_seen
        if seen % self._steps == 0 and seen % self._looks != 0:
            trainer.save_checkpoint(self._path)

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.save_checkpoint(self._path)


class _Teller(Callback):
    """Tells of every step and of every look at the held-out persons."""

    def __init__(self, stage: str, steps: int, tell: Tell, say: Say) -> None:
        self._stage, self._steps, self._tell, self._say = stage, steps, tell, say

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self._tell(self._stage, cast(PairLearner, pl_module).batches_seen, self._steps)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        found = {name: float(value) for name, value in trainer.callback_metrics.items() if "validation/" in name}
        figures = ", ".join(f"{name.removeprefix('validation/')} {value:.4f}" for name, value in found.items())
        self._say(f"{self._stage}, step {cast(PairLearner, pl_module).batches_seen}: {figures}")


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without what Lightning says of itself, and its warnings of what is meant to be so."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # The loader starts where the checkpoint ends, which Lightning cannot see.
        warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before the epoch ended")
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
        # A person chooses the number of workers; on two cores none is right.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        # Frozen parts serve as they will in the bundle.
        warnings.filterwarnings("ignore", ".*module.* in eval mode at the start of training.*")
        # Lightning asks torch in a way that torch has given up.
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        try:
            yield
        finally:
            log.setLevel(level)
