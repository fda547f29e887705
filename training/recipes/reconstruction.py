"""Trains the teacher ``reconstruction``: an autoencoder that fills in hidden parts of phantoms' pictures.

``python -m training.recipes.reconstruction --work FOLDER --kinds chest-film fundus --persons 200``. It is shown no
label and no person, only what belongs beside what in a picture (P. Vincent et al., "Extracting and composing robust
features with denoising autoencoders", ICML 2008). Interrupted, the same command goes on behind the last epoch.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from config.errors import CommandError
from inference.encoders.bundle import BUNDLE_FILE, Bundle
from inference.encoders.inputs import InputSpec, is_flat, prepare
from inference.encoders.runtime import WEIGHTS_FILE
from inference.types import LoadedSeries
from inference.whole_file import whole_file
from training.cohort.kinds import KINDS
from training.learning.provenance import commit, device_name
from training.learning.teachers import RECONSTRUCTION, Reconstruction, package_teachers
from training.learning.toml_text import to_toml
from training.manifests.schema import Row
from training.recipes.phantoms import phantom_studies

RECONSTRUCTION_SEED = 7900
# Small, because a teacher says what is where, not how sharp it is; border cut as for the students.
INPUT = InputSpec(size=128, crop=0.08, slices=4)
BATCH, STEPS_PER_EPOCH = 64, 50
# Squares of this many pixels are hidden with this chance, and what is left is noisy: otherwise copying would do.
SQUARE, HIDDEN, NOISE = 16, 0.5, 0.05
# One person in so many is held out, to see how well what is hidden is rebuilt.
HELD_OUT = 10

Planes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """uint8 (N, 3, S, S) of each kind: to learn from, and of persons that are held out."""

    train: tuple[Planes, ...]
    held_out: tuple[Planes, ...]


def pictures_of(studies: Iterable[tuple[Row, Sequence[LoadedSeries]]]) -> tuple[Planes, Planes]:
    """All planes of the persons to learn from, and of those held out."""
    shares: tuple[list[Planes], list[Planes]] = ([], [])
    for row, images in studies:
        is_held_out = int(hashlib.sha256(row.patient_id.encode()).hexdigest(), 16) % HELD_OUT == 0
        shares[is_held_out].extend(prepare(image, INPUT) for image in images if not is_flat(image))
    none = np.empty((0, 3, INPUT.size, INPUT.size), np.uint8)
    return np.concatenate([none, *shares[0]]), np.concatenate([none, *shares[1]])


def hide(pictures: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, S, S) with squares greyed and noise on the rest, and which pixels are hidden (B, 1, S, S)."""
    squares = (len(pictures), 1, pictures.shape[-2] // SQUARE, pictures.shape[-1] // SQUARE)
    chances = torch.rand(squares, generator=generator, device=pictures.device)
    hidden = functional.interpolate((chances < HIDDEN).float(), pictures.shape[-2:]) > 0
    noise = torch.randn(pictures.shape, generator=generator, device=pictures.device)
    return torch.where(hidden, 0.5, (pictures + NOISE * noise).clamp(0, 1)), hidden


class Rebuilder(LightningModule):
    """Learns to give back what was hidden. Every step draws from a stream of its own, so that it can be repeated."""

    def __init__(self, steps: int, seed: int, learning_rate: float = 1e-3) -> None:
        super().__init__()
        self.network = Reconstruction()
        self._steps, self._seed, self._learning_rate = steps, seed, learning_rate

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        whole = batch.float() / 255
        generator = torch.Generator(whole.device).manual_seed(self._seed + self.global_step)
        covered, _ = hide(whole, generator)
        loss = functional.mse_loss(self.network(covered), whole)
        self.log("train/loss", loss.detach(), prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        optimiser = torch.optim.AdamW(self.network.parameters(), self._learning_rate, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self._steps)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Batches(Dataset[Tensor]):
    """The batches of one epoch: as many pictures of each kind, drawn by number of the batch."""

    def __init__(self, kinds: Sequence[Planes], size: int, count: int, first: int, seed: int) -> None:
        self._kinds, self._size, self._count, self._first, self._seed = kinds, size, count, first, seed

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Tensor:
        if not 0 <= number < self._count:
            raise IndexError(number)
        rng = np.random.default_rng((self._seed, self._first + number))
        shares = np.array_split(np.arange(self._size), len(self._kinds))
        drawn = [own[rng.integers(0, len(own), len(share))] for own, share in zip(self._kinds, shares, strict=True)]
        return torch.from_numpy(np.concatenate(drawn))


class Draws(LightningDataModule):
    """Batches of ``size`` of the pictures to learn from, anew in each epoch of ``count``."""

    def __init__(self, pictures: Pictures, seed: int, size: int = BATCH, count: int = STEPS_PER_EPOCH) -> None:
        super().__init__()
        self._kinds, self._seed, self._size, self._count = pictures.train, seed, size, count

    def train_dataloader(self) -> DataLoader[Tensor]:
        first = self.trainer.current_epoch * self._count if self.trainer is not None else 0
        return DataLoader(Batches(self._kinds, self._size, self._count, first, self._seed), batch_size=None)


def train(draws: Draws, module: Rebuilder, epochs: int, work: Path, progress: bool = False) -> None:
    """Trains for ``epochs`` in all, going on behind the last that ``work`` holds."""
    last = work / "last.ckpt"
    trainer = Trainer(
        max_epochs=epochs,
        # Otherwise all epochs would draw the first one's batches.
        reload_dataloaders_every_n_epochs=1,
        callbacks=[ModelCheckpoint(work, last.stem, enable_version_counter=False)],
        logger=False,
        enable_progress_bar=progress,
        enable_model_summary=False,
        default_root_dir=work,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        # Going on is meant.
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
        # Lightning asks torch in a way that torch has given up.
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        trainer.fit(module, datamodule=draws, ckpt_path=str(last) if last.is_file() else None)


@torch.no_grad()
def errors(network: Reconstruction, pictures: Planes, seed: int) -> tuple[float, float]:
    """Mean squared error of the hidden pixels as rebuilt, and with each picture's mean of what is shown instead."""
    network.eval()
    generator = torch.Generator().manual_seed(seed)
    rebuilt, filled, hidden_pixels = 0.0, 0.0, 0.0
    for start in range(0, len(pictures), BATCH):
        whole = torch.from_numpy(pictures[start : start + BATCH]).float() / 255
        covered, hidden = hide(whole, generator)
        shown = (whole * ~hidden).sum((2, 3), keepdim=True) / (~hidden).sum((2, 3), keepdim=True).clamp(min=1)
        rebuilt += float(((network(covered) - whole).square() * hidden).sum())
        filled += float(((shown - whole).square() * hidden).sum())
        hidden_pixels += 3 * float(hidden.sum())
    return rebuilt / hidden_pixels, filled / hidden_pixels


def write_teacher(folder: Path, network: Reconstruction, says: dict[str, Any]) -> None:
    """Puts the bundle in ``folder/reconstruction``, in the place of one that is there, when all of it is written."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    halved = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    weights = safetensors.torch.save(halved)
    core = {
        "name": RECONSTRUCTION,
        "version": "1.0",
        "network": RECONSTRUCTION,
        "dimension": network.channels,
        "description": "Autoencoder that fills in hidden parts of medical pictures; a teacher, which does not serve",
        "licence": "Apache-2.0, as MedReID",
        "input": INPUT.to_mapping(),
    }
    with tempfile.TemporaryDirectory(prefix=".teacher-", dir=folder) as temporary:
        draft = Path(temporary) / RECONSTRUCTION
        draft.mkdir()
        (draft / WEIGHTS_FILE).write_bytes(weights)
        files = {WEIGHTS_FILE: hashlib.sha256(weights).hexdigest()}
        (draft / BUNDLE_FILE).write_text(to_toml(core | says | {"files": files}), encoding="utf-8")
        Bundle.read(draft).bytes_of(WEIGHTS_FILE)
        target = folder / RECONSTRUCTION
        if target.exists():
            shutil.move(target, Path(temporary) / "before")
        draft.rename(target)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains the teacher ``reconstruction`` and writes its bundle."""
    parser = argparse.ArgumentParser(prog="python -m training.recipes.reconstruction", description=main.__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of pictures and of where training goes on")
    parser.add_argument("--out", type=Path, default=package_teachers(), help="folder of the teachers' bundles")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=["chest-film", "fundus", "head-mr"])
    parser.add_argument("--seed", type=int, default=RECONSTRUCTION_SEED, help="of the persons; no other use may share")
    parser.add_argument("--persons", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--processes", type=int, default=1)
    chosen = parser.parse_args(arguments)
    stored = [_stored(kind, chosen) for kind in chosen.kinds]
    pictures = Pictures(*zip(*stored, strict=True))
    torch.manual_seed(chosen.seed)
    module = Rebuilder(chosen.epochs * STEPS_PER_EPOCH, chosen.seed)
    # A folder for each choice: going on with other pictures would be a training of neither.
    place = chosen.work / hashlib.sha256(_command(chosen).encode()).hexdigest()[:16]
    train(Draws(pictures, chosen.seed, chosen.batch), module, chosen.epochs, place, progress=True)
    device = device_name(str(module.device))
    write_teacher(chosen.out, module.network.cpu(), _says(chosen, module.network, pictures, device))


def _command(chosen: argparse.Namespace) -> str:
    """How to make the same again."""
    return (
        f"python -m training.recipes.reconstruction --kinds {' '.join(chosen.kinds)} --persons {chosen.persons} "
        f"--seed {chosen.seed} --epochs {chosen.epochs} --batch {chosen.batch}"
    )


def _says(chosen: argparse.Namespace, network: Reconstruction, pictures: Pictures, device: str) -> dict[str, Any]:
    """What the bundle says of how it came to be, and how well it does."""
    found = {
        kind: [round(error, 5) for error in errors(network, own, chosen.seed)]
        for kind, own in zip(chosen.kinds, pictures.held_out, strict=True)
    }
    about = "mean squared error of hidden pixels of held-out persons: rebuilt, and filled with the picture's mean"
    return {
        "trained_on": f"Digital phantoms only: {', '.join(chosen.kinds)} of {chosen.persons} persons",
        "recipe": _command(chosen),
        "metrics": {"about": about} | found,
        "training": {"seed": chosen.seed, "commit": commit(), "device": device},
    }


def _stored(kind: str, chosen: argparse.Namespace) -> tuple[Planes, Planes]:
    """A kind's pictures, made once in ``work``."""
    from rich.progress import track

    path = chosen.work / f"{kind}-{chosen.persons}-{chosen.seed}.npz"
    if not path.is_file():
        studies = phantom_studies(kind, chosen.persons, chosen.seed, processes=chosen.processes)
        train_part, held_out = pictures_of(track(studies, kind, 2 * chosen.persons))
        if not (len(train_part) and len(held_out)):
            raise CommandError(f"{chosen.persons} persons are too few to hold some out; give more with --persons")
        with whole_file(path) as file:
            np.savez(file, train=train_part, held_out=held_out)
    with np.load(path, allow_pickle=False) as found:
        return found["train"], found["held_out"]


if __name__ == "__main__":
    main()
