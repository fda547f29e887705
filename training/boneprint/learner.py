"""What the trainings on pairs share: seeds by number of the batch, both sides of held-out persons, and their figure."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from lightning import LightningModule
from torch import Tensor, nn

from config.errors import TrainingError
from inference.networks.boneprint_parts import Boneprint
from inference.networks.boneprint_sides import SIDES, Side
from training.boneprint.augment import PairAugmenter
from training.boneprint.data import Item
from training.boneprint.recipe import Optimising, Recipe
from training.boneprint.searching import figures
from training.learning.optimise import optimiser_of, schedule_of
from training.learning.recipe import Optimiser
from training.learning.seeds import seed_of


class PairLearner(LightningModule):
    """A training on pairs. ``figure`` is what validation is judged by, better when it is larger unless ``smaller``."""

    figure: ClassVar[str]
    smaller: ClassVar[bool] = False

    def __init__(self, recipe: Recipe, length: Optimising) -> None:
        super().__init__()
        self.recipe, self.length = recipe, length
        self.batches_seen = 0
        self.augment = PairAugmenter(recipe.augment, recipe.input_spec().size)

    def on_train_batch_start(self, batch: Item, batch_idx: int) -> None:
        # Noise and dropout draw from the process's stream: by number of the batch, so that it can be resumed.
        torch.manual_seed(seed_of(self.recipe.seed, type(self).__name__, self.batches_seen))

    def seeds(self, batch: Item, what: str) -> Tensor:
        """(B,) seeds of one thing that is drawn for every person of the batch."""
        return torch.tensor([seed_of(seed, what) for seed in batch["seed"].tolist()])

    def finite(self, found: Tensor, what: str) -> Tensor:
        """``found``, as it was.

        Raises
        ------
        TrainingError
            ``NOT_FINITE`` where it is not: weights must not be touched by it.
        """
        if not bool(torch.isfinite(found).all()):
            raise TrainingError(
                f"{what} is not finite at step {self.batches_seen}: lower optimiser.learning_rate, set optimiser.clip, "
                "or train in 32 bits; the last checkpoint is from before it",
                reason="NOT_FINITE",
            )
        return found

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["batches_seen"] = self.batches_seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.batches_seen = checkpoint["batches_seen"]


class BoneprintLearner(PairLearner):
    """A training of what is compared: one loss, one optimiser, and searches among the held-out persons."""

    figure = "mrr"

    def __init__(self, recipe: Recipe, network: Boneprint) -> None:
        super().__init__(recipe, recipe.length)
        self.network = network
        self._embedded: dict[Side, list[Tensor]] = {}

    def loss(self, seen: dict[Side, Tensor], batch: Item) -> Tensor:
        """The loss of augmented greys (B, 1, size, size) of both sides; logs its parts."""
        raise NotImplementedError

    def training_step(self, batch: Item, batch_idx: int) -> Tensor:
        total = self.loss(self.seen(batch), batch)
        self.log("train/loss", self.finite(total, "the loss").detach())
        self.batches_seen += 1
        return total

    def seen(self, batch: Item, again: str = "") -> dict[Side, Tensor]:
        """Both sides, each augmented for itself, as the network's grey; with another ``again`` otherwise."""
        return {
            side: self.network.grey(self.augment(batch[side], self.seeds(batch, f"{side}{again}"))) for side in SIDES
        }

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        found = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        self.log("train/gradient", self.finite(torch.nn.utils.get_total_norm(found), "the gradient"))

    def configure_optimizers(self) -> Any:
        own = self.length
        optimiser = optimiser_of(groups(self, own.optimiser), own.optimiser)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule_of(optimiser, own.schedule, own.steps), "interval": "step"},
        }

    def on_validation_epoch_start(self) -> None:
        self._embedded = {side: [] for side in SIDES}

    def validation_step(self, batch: Item, batch_idx: int) -> None:
        for side in SIDES:
            self._embedded[side].append(self.network.encode(batch[side].float() / 255, side).float().cpu())

    def on_validation_epoch_end(self) -> None:
        vectors = {side: np.asarray(torch.cat(found).numpy(), np.float32) for side, found in self._embedded.items()}
        self._embedded = {}
        for found in vectors.values():
            self.finite(torch.from_numpy(found), "an embedding of validation")
        for name, value in figures(vectors).items():
            self.log(f"validation/{name}", value)


def groups(module: nn.Module, wanted: Optimiser) -> list[dict[str, Any]]:
    """The weights that learn, for an optimiser; norms and biases do not decay."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [one for one in learning if (one.ndim > 1) is decays], "weight_decay": wanted.weight_decay * decays}
        for decays in (True, False)
    ]
