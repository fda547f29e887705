"""Optimisers and schedules: which weights learn how fast, and when."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from training.learning.recipe import Optimiser, Schedule

# The part of a network behind its local features, by the names that networks give it.
_HEAD = ("head.", "identity.", "pool.")
# Parts that stand beside the blocks and adapt them all: they start from nothing and learn as fast as the last block.
_BESIDE = ("adapter.",)
_BLOCK = re.compile(r"^(.*?\.\d+)(?:\.|$)")


def is_head(parameter: str) -> bool:
    """Whether a network's parameter of that name lies behind the local features."""
    return parameter.startswith(_HEAD)


def parameter_groups(network: nn.Module, losses: nn.Module, wanted: Optimiser) -> list[dict[str, Any]]:
    """Groups for an optimiser. Learning rates fall from block to block towards the input; norms and biases keep their
    weights, because decay would only pull them to a scale that the next layer undoes.
    """
    head_rate = wanted.head_learning_rate or wanted.learning_rate
    rates = {
        name: head_rate if is_head(name) else wanted.learning_rate * factor
        for name, factor in _factors(network, wanted.layer_decay).items()
    }
    named = [(parameter, rates[name]) for name, parameter in network.named_parameters()]
    named += [(parameter, head_rate) for parameter in losses.parameters()]
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter, rate in named:
        decay = wanted.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()]


def optimiser_of(groups: Iterable[Mapping[str, Any]], wanted: Optimiser) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov's momentum of 0.9."""
    if wanted.name == "adamw":
        return torch.optim.AdamW([dict(group) for group in groups], lr=wanted.learning_rate)
    return torch.optim.SGD([dict(group) for group in groups], lr=wanted.learning_rate, momentum=0.9, nesterov=True)


def schedule_of(optimiser: torch.optim.Optimizer, wanted: Schedule, steps: int) -> LambdaLR:
    """The factor of all learning rates, by step."""

    def factor(step: int) -> float:
        if step < wanted.warmup:
            return (step + 1) / wanted.warmup
        if wanted.name == "constant":
            return 1.0
        share = min(1.0, (step - wanted.warmup) / max(1, steps - wanted.warmup))
        return wanted.last + (1 - wanted.last) * 0.5 * (1 + math.cos(math.pi * share))

    return LambdaLR(optimiser, factor)


def _factors(network: nn.Module, decay: float) -> dict[str, float]:
    """The learning rate's factor of each parameter: 1 for the last block, ``decay`` for the one below, and so on."""
    blocks: dict[str, int] = {}
    depth = {}
    beside = [name for name, _ in network.named_parameters() if name.startswith(_BESIDE)]
    for name, _ in network.named_parameters():
        if name.startswith(_BESIDE):
            continue
        found = _BLOCK.match(name)
        block = found.group(1) if found else name
        depth[name] = blocks.setdefault("head" if is_head(name) else block, len(blocks))
    found_below = {name: decay ** (len(blocks) - 1 - place) for name, place in depth.items()}
    return found_below | dict.fromkeys(beside, 1.0)
