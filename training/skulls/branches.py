"""Learning one branch: the face branch tells patients apart, the skull branch meets the frozen faces."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from lightning import LightningModule
from pytorch_metric_learning import distances, losses, miners
from torch import Tensor, nn

from config.errors import TrainingError
from inference.types import FloatArray
from training.learning.augment import Augmenter
from training.learning.losses import WeightedLoss
from training.learning.optimise import optimiser_of, parameter_groups, schedule_of
from training.learning.recipe import Augment, Optimiser, Schedule
from training.learning.seeds import seed_of
from training.skulls.batches import Batch
from training.skulls.recipe import Triplets

# Figure of a test, from the embeddings (n, D) of the held-out pictures, of unit length.
Judge = Callable[[FloatArray], float]
FIGURE = "validation/mrr"


@dataclass(frozen=True, slots=True)
class Course:
    """How a branch is trained: what both stages of a recipe have in common."""

    seed: int
    size: int
    steps: int
    augment: Augment
    optimiser: Optimiser
    schedule: Schedule
    freeze_batch_norm: bool


class Branch(LightningModule):
    """A network in training; ``judge`` says what its embeddings of held-out pictures are worth."""

    def __init__(self, network: nn.Module, loss: nn.Module, course: Course, judge: Judge) -> None:
        super().__init__()
        self.network, self.loss, self.course = network, loss, course
        self.batches_seen = 0
        self._judge, self._augment = judge, Augmenter(course.augment, course.size)
        self._embedded: list[Tensor] = []

    def loss_of(self, embeddings: Tensor, batch: Batch) -> Tensor:
        """The scalar loss of embeddings float32 (B, D), as the network gives them."""
        raise NotImplementedError

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Dropout and the like draw from the process's stream: by number of the batch, so that it can be resumed.
        torch.manual_seed(seed_of(self.course.seed, "batch", self.batches_seen))
        self.network.train()
        if self.course.freeze_batch_norm:
            # The head's is new and has to learn its statistics.
            for name, part in self.network.named_modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm) and not name.startswith("head."):
                    part.eval()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        embeddings = cast(Tensor, self.network(self._augment(batch["images"], batch["seed"])))
        with torch.autocast(self.device.type, enabled=False):
            total = self.loss_of(embeddings.float(), batch)
        if not torch.isfinite(total):
            raise TrainingError(
                f"the loss is not finite at step {self.global_step}: lower the learning rate, or train in 32 bits; "
                "the last checkpoint is from before it",
                reason="NOT_FINITE",
            )
        self.log("train/loss", total.detach())
        self.batches_seen += 1
        return total

    def configure_optimizers(self) -> Any:
        own = self.course.optimiser
        optimiser = optimiser_of(parameter_groups(self.network, self.loss, own), own)
        schedule = schedule_of(optimiser, self.course.schedule, self.course.steps)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_validation_epoch_start(self) -> None:
        self._embedded = []

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        found = self.network(batch.float() / 255).float()
        self._embedded.append(nn.functional.normalize(found, dim=1).cpu())

    def on_validation_epoch_end(self) -> None:
        figure = self._judge(torch.cat(self._embedded).numpy())
        self._embedded = []
        if math.isnan(figure):
            raise TrainingError(
                "the held-out persons leave nothing to search for: raise phantoms.patients or the share of validation",
                reason="VALIDATION_TOO_SMALL",
            )
        self.log(FIGURE, figure)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["batches_seen"] = self.batches_seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.batches_seen = checkpoint["batches_seen"]


class FaceBranch(Branch):
    """A patient recogniser on faces; ``loss`` is a list of :class:`~training.learning.losses.WeightedLoss`."""

    def loss_of(self, embeddings: Tensor, batch: Batch) -> Tensor:
        total = embeddings.new_zeros(())
        for one in cast("list[WeightedLoss]", list(cast(nn.ModuleList, self.loss))):
            total = total + one.weight * one(embeddings, batch["class"])
        return total


class SkullBranch(Branch):
    """``loss`` is a :class:`CrossTriplets`."""

    def loss_of(self, embeddings: Tensor, batch: Batch) -> Tensor:
        return cast(Tensor, self.loss(embeddings, batch["faces"]))


class CrossTriplets(nn.Module):
    """The hinge triplet loss of skulls and the faces that belong to them: max(0, d(s_i, f_i) - d(s_i, f_j) + margin)
    of unit vectors, averaged over the triplets that are not zero, as pytorch-metric-learning has it.
    """

    def __init__(self, margin: float, triplets: Triplets) -> None:
        super().__init__()
        distance = distances.LpDistance(normalize_embeddings=True)
        self._loss = losses.TripletMarginLoss(margin=margin, distance=distance)
        self._miner = miners.TripletMarginMiner(margin=margin, distance=distance, type_of_triplets=triplets)

    def forward(self, skulls: Tensor, faces: Tensor) -> Tensor:
        """The scalar loss of skulls (B, D) and faces (B, D) of B persons, no two the same."""
        persons = torch.arange(len(skulls), device=skulls.device)
        # A copy: the same tensor would tell the library that each is its own reference, and no mate of itself.
        others = persons.clone()
        chosen = self._miner(skulls, persons, faces, others)
        return cast(Tensor, self._loss(skulls, persons, chosen, faces, others))
