"""Lightning's loop around one branch: goes on from its last checkpoint, keeps the best weights."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.learning.catalogue import Tell
from training.learning.checkpoints import LastState
from training.skulls.album import Album, Shown
from training.skulls.batches import Batch, From
from training.skulls.branches import FIGURE, Branch
from training.skulls.recipe import Length

Say = Callable[[str], None]
_TESTED = 32
_LOG_EVERY = 10


@dataclass(frozen=True, slots=True)
class Hardware:
    """What to train on: ``workers`` load batches, ``processes`` make phantoms."""

    accelerator: str = "auto"
    workers: int = 0
    processes: int = 1


class HeldOut(Dataset[Tensor]):
    """Held-out pictures in their order: uint8 (1, 3, size, size), the middle of what is stored."""

    def __init__(self, album: Album, shown: Sequence[Shown], size: int) -> None:
        self._album, self._shown, self._size = album, shown, size

    def __len__(self) -> int:
        return len(self._shown)

    def __getitem__(self, place: int) -> Tensor:
        return torch.from_numpy(scaled(self._album.pixels(self._shown[place]), self._size))[None]


def scaled(drawn: np.ndarray, size: int) -> np.ndarray:
    """A picture uint8 (3, S, S) at the size that a network sees."""
    from inference.encoders.inputs import resized

    if drawn.shape[-1] == size:
        return drawn
    return np.ascontiguousarray(resized(np.ascontiguousarray(drawn.transpose(1, 2, 0)), size, size).transpose(2, 0, 1))


def fit(
    branch: Branch,
    batches: Dataset[Batch],
    held_out: HeldOut,
    folder: Path,
    length: Length,
    hardware: Hardware,
    stage: str,
    tell: Tell,
    say: Say,
) -> None:
    """Trains the branch up to its last step, or until it gets no better, and gives it its best weights.

    ``folder`` holds ``last.ckpt``, from which it goes on, and ``best.ckpt``.
    """
    steps = branch.course.steps
    last, best = folder / "last.ckpt", folder / "best.ckpt"
    every = min(length.every, steps)
    callbacks: list[Callback] = [
        EarlyStopping(FIGURE, mode="max", patience=length.patience, check_on_train_epoch_end=False),
        ModelCheckpoint(
            folder, best.stem, monitor=FIGURE, mode="max", save_weights_only=True, enable_version_counter=False
        ),
        LastState(last, length.checkpoint, every),
        _Teller(stage, steps, tell, say),
    ]
    with _quiet_lightning():
        trainer = Trainer(
            accelerator=hardware.accelerator,
            devices=1,
            precision="bf16-mixed" if length.precision == "bf16-mixed" else "32-true",
            max_epochs=1,
            max_steps=steps,
            gradient_clip_val=branch.course.optimiser.clip or None,
            val_check_interval=every,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            log_every_n_steps=min(_LOG_EVERY, steps),
            logger=CSVLogger(folder, name="logs"),
            callbacks=callbacks,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        loaders = _Loaders(branch, batches, held_out, hardware.workers)
        trainer.fit(branch, loaders.training(last), loaders.tests(), ckpt_path=str(last) if last.is_file() else None)
    saved = torch.load(best, map_location="cpu", weights_only=True)["state_dict"]
    own = {name.removeprefix("network."): value for name, value in saved.items() if name.startswith("network.")}
    branch.network.cpu().load_state_dict(own)
    branch.network.eval()


@dataclass(frozen=True, slots=True)
class _Loaders:
    branch: Branch
    batches: Dataset[Batch]
    held_out: HeldOut
    workers: int

    def training(self, last: Path) -> DataLoader[Batch]:
        first = 0
        if last.is_file():
            first = int(torch.load(last, map_location="cpu", weights_only=True)["batches_seen"])
        return self._loader(self.batches, None, From(first, self.branch.course.steps))

    def tests(self) -> DataLoader[Tensor]:
        return self._loader(self.held_out, _TESTED, None)

    def _loader(self, data: Dataset[Any], size: int | None, sampler: From | None) -> DataLoader[Any]:
        return DataLoader(
            data,
            batch_size=size,
            sampler=sampler,
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.workers > 0,
        )


class _Teller(Callback):
    """Tells of every step and of every test."""

    def __init__(self, stage: str, steps: int, tell: Tell, say: Say) -> None:
        self._stage, self._steps, self._tell, self._say = stage, steps, tell, say

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self._tell(self._stage, trainer.global_step, self._steps)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        figure = float(cast(Any, trainer.callback_metrics[FIGURE]))
        self._say(f"{self._stage}, step {trainer.global_step}: mean reciprocal rank {figure:.3f}")


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without what Lightning says of itself, and its warnings of what is meant to be so."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Batches start where the checkpoint ends, which Lightning cannot see.
        warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before the epoch ended")
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
        warnings.filterwarnings("ignore", "Experiment logs directory .* exists and is not empty")
        # A person chooses the number of workers; on two cores none is right.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        # Lightning asks torch in a way that torch has given up.
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        try:
            yield
        finally:
            log.setLevel(level)
