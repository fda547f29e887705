"""The training step: augment, embed, gather from all processes, and weigh the losses."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional

from config.errors import TrainingError
from training.learning.augment import Augmenter
from training.learning.data import Item, Samples
from training.learning.losses import WeightedLoss
from training.learning.optimise import is_head, optimiser_of, parameter_groups, schedule_of
from training.learning.recipe import Recipe
from training.learning.seeds import seed_of
from training.learning.teaching import Teaching
from training.learning.validation import balanced_accuracy, figures_of


class Learner(LightningModule):
    """A network and its losses under a recipe.

    Parameters
    ----------
    network
        as :mod:`inference.networks` has it.
    losses
        as :func:`training.learning.losses.build_losses` makes them.
    teaching
        the difference alignment, where the recipe has one.
    held_out
        the samples of validation.
    steps
        of the optimiser, in all.
    """

    def __init__(
        self,
        recipe: Recipe,
        network: nn.Module,
        losses: list[WeightedLoss],
        teaching: Teaching | None,
        held_out: Samples,
        steps: int,
    ) -> None:
        super().__init__()
        self.recipe, self.network, self.losses = recipe, network, nn.ModuleList(losses)
        self.teaching = teaching
        self.batches_seen = 0
        self._augment = Augmenter(recipe.augment, recipe.input_spec().size)
        self._held_out, self._steps = held_out, steps
        self._embedded: list[tuple[Tensor, Tensor]] = []

    def on_train_batch_start(self, batch: Item, batch_idx: int) -> None:
        # Dropout and the like draw from the process's stream: by number of the batch, so that it can be resumed.
        torch.manual_seed(seed_of(self.recipe.seed, "batch", self.batches_seen, self.global_rank))
        self.network.train()
        if self.recipe.freeze.batch_norm:
            for part in self.network.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.eval()
        frozen = self.global_step < self.recipe.freeze.head_steps
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(not frozen or is_head(name))

    def training_step(self, batch: Item, batch_idx: int) -> Tensor:
        images = self._augment(batch["images"], batch["seed"])
        embeddings, aligned = self._embed(images, batch["modality"])
        with torch.autocast(self.device.type, enabled=False):
            total = self._losses(embeddings.float(), batch)
            if aligned is not None:
                self.log("train/alignment", aligned.detach())
                total = total + cast(Any, self.recipe.alignment).weight * aligned.float()
        if not torch.isfinite(total):
            raise _not_finite("the loss", self.global_step)
        self.log("train/loss", total.detach(), prog_bar=True)
        self.batches_seen += 1
        return total

    def _embed(self, images: Tensor, modality: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.teaching is None:
            return cast(Tensor, self.network(images, modality)), None
        seed = seed_of(self.recipe.seed, "pairs", self.batches_seen)
        return cast("tuple[Tensor, Tensor | None]", self.teaching(self.network, images, modality, seed, self._of_all))

    def _of_all(self, part: Tensor) -> Tensor:
        """(B, ...) of the whole batch from this process's share of it; gradients go back to where they came from."""
        if self.trainer.world_size == 1:
            return part
        found = cast(Tensor, self.all_gather(part, sync_grads=part.requires_grad))
        # Process r took every image r, r + processes, ...: back in the batch's own order, for differences have a sign.
        order = torch.arange(found.shape[0] * found.shape[1], device=part.device).view(found.shape[:2]).T.flatten()
        # By numbers: the gradient of a transposed view is strided, and gloo adds up what lies in memory.
        return found.flatten(0, 1)[order]

    def _losses(self, embeddings: Tensor, batch: Item) -> Tensor:
        """All processes compute the losses of all images, so that pairs and class weights are those of one process."""
        embeddings, classes, paired = (self._of_all(part) for part in (embeddings, batch["class"], batch["paired"]))
        total = embeddings.new_zeros(())
        for one in cast("list[WeightedLoss]", list(self.losses)):
            found = one(embeddings[paired], classes[paired]) if one.of_pairs else one(embeddings, classes)
            self.log(f"train/{one.name}", found.detach())
            total = total + one.weight * found
        return total

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # Weights must not be touched by a gradient that is not finite: the last checkpoint would hold them.
        found = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(found)
        if not torch.isfinite(norm):
            raise _not_finite("the gradient", self.global_step)
        self.log("train/gradient", norm)

    def configure_optimizers(self) -> Any:
        own = self.recipe.optimiser
        trained = nn.ModuleList([self.losses, *([self.teaching] if self.teaching is not None else [])])
        optimiser = optimiser_of(parameter_groups(self.network, trained, own), own)
        schedule = schedule_of(optimiser, self.recipe.schedule, self._steps)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_validation_epoch_start(self) -> None:
        self._embedded = []

    def validation_step(self, batch: Item, batch_idx: int) -> None:
        found = self.network(batch["images"].float() / 255, batch["modality"])
        self._embedded.append((batch["place"].cpu(), found.float().cpu()))

    def on_validation_epoch_end(self) -> None:
        figures = self._figures(*self._gathered())
        self._embedded = []
        if math.isnan(figures[self.recipe.validation.figure]):
            raise TrainingError(
                f"{self.recipe.validation.figure} is undefined on the validation's patients: add patients, or choose "
                "another validation.figure",
                reason="VALIDATION_TOO_SMALL",
            )
        for name, value in figures.items():
            self.log(f"validation/{name}", value, sync_dist=True)

    def _gathered(self) -> tuple[np.ndarray, np.ndarray]:
        """Places (N,) and outputs (N, D) of every held-out image, from all processes, in order.

        Raises
        ------
        TrainingError
            ``VALIDATION_TWICE`` when an image is missing or came twice.
        """
        own = [(places.numpy(), outputs.numpy()) for places, outputs in self._embedded]
        parts: list[Any] = [own]
        if self.trainer.world_size > 1:
            parts = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(parts, own)
        found = [pair for part in parts for pair in part]
        places, outputs = (np.concatenate([pair[n] for pair in found]) for n in (0, 1))
        order = np.argsort(places)
        if not np.array_equal(places[order], np.arange(len(self._held_out))):
            raise TrainingError("validation did not see every image once", reason="VALIDATION_TWICE")
        return places[order], outputs[order]

    def _figures(self, places: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
        if not np.isfinite(outputs).all():
            raise _not_finite("an embedding of validation", self.global_step)
        if self.recipe.task == "kind":
            return {"accuracy": balanced_accuracy(self._held_out.classes, outputs.argmax(axis=1))}
        vectors = functional.normalize(torch.from_numpy(outputs), dim=1).numpy()
        found = figures_of(self.recipe, self._held_out.rows, vectors).by_name
        return {name: one.value if one.value is not None else math.nan for name, one in found.items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["batches_seen"] = self.batches_seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.batches_seen = checkpoint["batches_seen"]


def _not_finite(what: str, step: int) -> TrainingError:
    return TrainingError(
        f"{what} is not finite at step {step}: lower optimiser.learning_rate, set optimiser.clip, or train in 32 bits; "
        "the last checkpoint is from before it",
        reason="NOT_FINITE",
    )
