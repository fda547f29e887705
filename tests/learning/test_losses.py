"""Losses by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from config.errors import TrainingError
from inference import networks
from tests.learning.tiny import TinyNetwork
from training.learning.losses import LOSSES, build_losses
from training.learning.optimise import parameter_groups, schedule_of
from training.learning.recipe import Loss, Optimiser, Schedule

CLASSES = torch.arange(4).repeat_interleave(2)


def _embeddings() -> torch.Tensor:
    return torch.randn(8, 6, generator=torch.Generator().manual_seed(2), requires_grad=True)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_a_finite_number_with_a_gradient(name: str) -> None:
    (loss,) = build_losses((Loss(name=name),), 4, 6)
    embeddings = _embeddings()
    value = loss(embeddings, CLASSES)
    value.backward()
    assert value.ndim == 0
    assert torch.isfinite(value)
    assert embeddings.grad is not None
    assert embeddings.grad.abs().sum() > 0


def test_the_triplet_is_the_soft_margin_of_the_hardest() -> None:
    (loss,) = build_losses((Loss(name="triplet"),), 4, 6)
    embeddings = _embeddings()
    distance = torch.cdist(embeddings, embeddings)
    mates = CLASSES[:, None] == CLASSES[None, :]
    farthest = distance.masked_fill(~mates, -1).amax(1)
    nearest = distance.masked_fill(mates, torch.inf).amin(1)
    assert torch.isclose(loss(embeddings, CLASSES), torch.log1p(torch.exp(farthest - nearest)).mean(), atol=1e-5)


def test_a_memory_is_compared_with_and_can_be_put_back() -> None:
    wanted = (Loss(name="contrastive", memory=16),)
    (one,), (other,) = build_losses(wanted, 4, 6), build_losses(wanted, 4, 6)
    one(_embeddings(), CLASSES)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(_embeddings(), CLASSES), other(_embeddings(), CLASSES))
    assert (other.loss.queue_idx, other.loss.has_been_filled) == (0, True)


@pytest.mark.parametrize(
    "wanted",
    [
        Loss(name="nonsense"),
        Loss(name="triplet", settings={"edges": 3}),
        Loss(name="cross-entropy", memory=8),
        Loss(name="arcface", memory=8),
    ],
)
def test_a_loss_that_cannot_be_is_named(wanted: Loss) -> None:
    with pytest.raises(TrainingError, match=wanted.name) as caught:
        build_losses((wanted,), 4, 6)
    assert caught.value.reason == "LOSS"


def test_lower_blocks_learn_slower_and_heads_faster() -> None:
    network = TinyNetwork(8, 0.0)
    network.layers.append(nn.Conv2d(8, 8, 1))
    losses = nn.ModuleList(build_losses((Loss(name="cross-entropy"),), 4, 8))
    own = Optimiser(learning_rate=1e-3, head_learning_rate=1e-2, weight_decay=0.1, layer_decay=0.5)
    groups = parameter_groups(network, losses, own)
    rate = {id(parameter): (group["lr"], group["weight_decay"]) for group in groups for parameter in group["params"]}
    found = {name: rate[id(parameter)] for name, parameter in network.named_parameters()}
    assert found["head.0.weight"] == (1e-2, 0.1)
    assert found["head.1.bias"] == (1e-2, 0.0)
    assert found["layers.0.weight"][0] < found["layers.3.weight"][0] < 1e-3 + 1e-12
    assert found["layers.0.bias"][1] == 0.0
    assert len(rate) == sum(1 for part in (network, losses) for _ in part.parameters())


def test_what_adapts_all_blocks_learns_as_fast_as_the_last() -> None:
    network = networks.build("mami-tiny", {"size": 32, "depth": 3})
    losses = nn.ModuleList(build_losses((Loss(name="cross-entropy"),), 4, 192))
    groups = parameter_groups(network, losses, Optimiser(learning_rate=1e-3, layer_decay=0.5))
    rate = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    found = {name: rate[id(parameter)] for name, parameter in network.named_parameters()}
    assert {value for name, value in found.items() if name.startswith("adapter.")} == {1e-3}
    first, second, third = (
        next(value for name, value in found.items() if f"blocks.{number}." in name) for number in range(3)
    )
    assert (first, second) == (third / 4, third / 2)


def test_the_schedule_warms_up_and_comes_down() -> None:
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = schedule_of(optimiser, Schedule(warmup=4, last=0.1), 20)
    rates = []
    for _ in range(21):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[-1] == pytest.approx(0.1)
    assert rates[4:] == sorted(rates[4:], reverse=True)
