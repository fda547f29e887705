"""Which weights a training ends with: those that validation liked best, be they the ones that it started from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from training.learning.catalogue import Tell
from training.learning.data import Samples
from training.learning.folder import Folder
from training.learning.recipe import Recipe
from training.learning.serving import batches, unit
from training.learning.teaching import Teaching
from training.learning.validation import ERRORS, balanced_accuracy, figures_of


def best_weights(
    recipe: Recipe, network: nn.Module, held_out: Samples, folder: Folder, device: torch.device, tell: Tell
) -> nn.Module:
    """The network on the CPU, in evaluation, with the best of its tests' weights.

    A network that starts from a fitted head may be worse after every step: it learnt the hospital of its images.
    The start is judged as the tests are, and kept unless a test was better.
    """
    found: list[Mapping[str, Tensor]] = []
    if folder.start.is_file():
        found.append(safetensors.torch.load_file(folder.start))
    if folder.best.is_file():
        found.append(_below(torch.load(folder.best, map_location="cpu", weights_only=True), "network."))
    chosen = found[0]
    if len(found) > 1:
        start, last = (_judged(recipe, network, one, held_out, device, tell) for one in found)
        better = last < start if recipe.validation.figure in ERRORS else last > start
        chosen = found[int(better)]
    network.cpu().load_state_dict(chosen)
    return network.eval()


def best_queries(recipe: Recipe, teaching: Teaching, folder: Folder, modalities: Sequence[str]) -> dict[str, Tensor]:
    """What the alignment's key queries were at the best test (:meth:`Teaching.queries`).

    Empty where the training began at a fitted head: its start, which may be what is kept, had no queries yet.
    """
    if recipe.network.discriminant:
        return {}
    teaching.load_state_dict(_below(torch.load(folder.best, map_location="cpu", weights_only=True), "teaching."))
    return teaching.queries(modalities)


def _below(checkpoint: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    state = checkpoint["state_dict"]
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _judged(
    recipe: Recipe,
    network: nn.Module,
    weights: Mapping[str, Tensor],
    held_out: Samples,
    device: torch.device,
    tell: Tell,
) -> float:
    """The recipe's figure of these weights."""
    network.load_state_dict(weights)
    network.to(device).eval()
    outputs = _outputs(network, held_out, device, tell)
    if recipe.task == "kind":
        return balanced_accuracy(held_out.classes, outputs.argmax(axis=1))
    value = figures_of(recipe, held_out.rows, unit(outputs)).by_name[recipe.validation.figure].value
    return math.nan if value is None else value


def _outputs(network: Any, samples: Samples, device: torch.device, tell: Tell) -> np.ndarray:
    """float32 (N, D) of every sample."""
    found: list[np.ndarray] = []
    done = 0
    for images, modalities in batches(samples):
        planes, numbers = torch.from_numpy(images).to(device), torch.from_numpy(modalities).to(device)
        with torch.inference_mode():
            found.append(network(planes.float() / 255, numbers).float().cpu().numpy())
        done += len(images)
        tell("start and best weights", done, len(samples))
    return np.concatenate(found)
