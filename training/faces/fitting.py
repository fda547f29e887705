"""A small training by draws: item ``n`` is a function of the seed and ``n``, so that it goes on wherever it stopped.

The harness of recipes (:mod:`training.learning`) is for networks that embed patients' images; these find things in
phantoms that are drawn anew for every step.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from config.errors import StorageError, TrainingError
from inference.whole_file import whole_file
from training.learning.catalogue import Tell
from training.learning.checkpoints import LastState
from training.learning.seeds import seed_of

Item = dict[str, Tensor]
Draw = Callable[[int], Item]
Loss = Callable[[nn.Module, Item], Tensor]

_WARM_UP = 0.05
_LOG_EVERY = 10


@dataclass(frozen=True, slots=True)
class Machine:
    """What to train on: one device of an ``accelerator``, and ``workers`` processes that make draws (0: this one)."""

    accelerator: str = "auto"
    workers: int = 0


@dataclass(frozen=True, slots=True)
class Length:
    """``steps`` of ``batch`` draws, a checkpoint every so many; Adam starts at ``learning_rate`` and decays to 0."""

    steps: int
    batch: int
    learning_rate: float = 1e-3
    checkpoint: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.checkpoint) < 1 or not 0 < self.learning_rate < 1:
            raise ValueError("steps, batch and checkpoint are 1 or more; learning_rate lies between 0 and 1")


def claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """Makes the folder this training's; one that holds the same goes on.

    Raises
    ------
    TrainingError
        ``RECIPE_CHANGED`` when it holds a training with other settings.
    StorageError
        when it cannot be written.
    """
    place, text = folder / "settings.json", json.dumps(settings, indent=1, sort_keys=True) + "\n"
    try:
        if not place.is_file():
            with whole_file(place) as file:
                file.write(text.encode())
        elif place.read_text(encoding="utf-8") != text:
            raise TrainingError(
                f"{folder} holds a training with other settings (settings.json): choose another folder",
                reason="RECIPE_CHANGED",
            )
    except OSError as error:
        raise StorageError(f"{folder} cannot be written ({error.strerror}); choose another folder") from None


def fit(network: nn.Module, loss: Loss, draw: Draw, folder: Path, length: Length, tell: Tell, machine: Machine) -> None:
    """Trains ``network`` in place, or goes on behind the last checkpoint in ``folder``.

    Raises
    ------
    TrainingError
        ``NOT_FINITE`` when a loss is; the last checkpoint is from before it.
    """
    last = folder / "checkpoints" / "last.ckpt"
    going_on = last.is_file()
    runs = len(list((folder / "logs").glob("run-*")))
    # As long as a checkpoint that is written on tests alone: there are none.
    state = LastState(last, length.checkpoint, length.steps + 1)
    with _quiet():
        trainer = Trainer(
            accelerator=machine.accelerator,
            devices=1,
            max_epochs=1,
            max_steps=length.steps,
            gradient_clip_val=1.0,
            logger=CSVLogger(folder, name="logs", version=f"run-{runs + 1}"),
            log_every_n_steps=min(_LOG_EVERY, length.steps),
            callbacks=[state, _Teller(length.steps, tell)],
            enable_checkpointing=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        learner = _Learner(network, loss, draw, length, machine.workers)
        trainer.fit(learner, ckpt_path=str(last) if going_on else None)
        # The end is a place to go on from as well: a command that was repeated trains no further.
        trainer.save_checkpoint(last)
    network.cpu().eval()


class _Learner(LightningModule):
    def __init__(self, network: nn.Module, loss: Loss, draw: Draw, length: Length, workers: int) -> None:
        super().__init__()
        self.network, self._loss, self._draw, self._length = network, loss, draw, length
        self._workers = workers
        self.batches_seen = 0

    def train_dataloader(self) -> DataLoader[Item]:
        batches = _Batches(self.batches_seen, self._length)
        return DataLoader(
            _Drawn(self._draw), batch_sampler=batches, num_workers=self._workers, pin_memory=torch.cuda.is_available()
        )

    def on_train_batch_start(self, batch: Item, batch_idx: int) -> None:
        torch.manual_seed(seed_of(self._length.seed, "batch", self.batches_seen))
        self.network.train()

    def training_step(self, batch: Item, batch_idx: int) -> Tensor:
        found = self._loss(self.network, batch)
        if not torch.isfinite(found):
            raise TrainingError(
                f"the loss is not finite at step {self.global_step}: lower the learning rate; the last checkpoint is "
                "from before it",
                reason="NOT_FINITE",
            )
        self.log("loss", found.detach())
        self.batches_seen += 1
        return found

    def configure_optimizers(self) -> Any:
        length = self._length
        optimiser = torch.optim.Adam(self.network.parameters(), lr=length.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, length.learning_rate, total_steps=length.steps + 1, pct_start=_WARM_UP, cycle_momentum=False
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["batches_seen"] = self.batches_seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.batches_seen = checkpoint["batches_seen"]


class _Drawn(Dataset[Item]):
    def __init__(self, draw: Draw) -> None:
        self._draw = draw

    def __getitem__(self, number: int) -> Item:
        return self._draw(number)


class _Batches(Sampler[list[int]]):
    def __init__(self, first: int, length: Length) -> None:
        self._first, self._steps, self._size = first, length.steps, length.batch

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self._first, self._steps):
            yield list(range(step * self._size, (step + 1) * self._size))

    def __len__(self) -> int:
        # All, those before the first as well: Lightning counts on from the batches of the checkpoint.
        return self._steps


class _Teller(Callback):
    def __init__(self, steps: int, tell: Tell) -> None:
        self._steps, self._tell = steps, tell

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._tell("training", trainer.global_step, self._steps)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what Lightning says of itself, and its warnings of what is meant to be so."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # The loader starts where the checkpoint ends, which Lightning cannot see.
        warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before the epoch ended")
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        # Lightning asks torch in a way that torch has given up.
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        try:
            yield
        finally:
            log.setLevel(level)
