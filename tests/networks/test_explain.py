"""Heat maps: they are hot where a network that looks at one place alone looks, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from config.errors import EncoderError
from inference.networks.explain import identity_heat, occlusion_heat, query_heat, read_queries, rollout_heat
from inference.networks.mami import KeyQueries
from inference.networks.vit import VisionTransformer
from inference.types import FloatArray
from tests.networks.faces import planes
from tests.networks.test_compa import adapted, stirred
from tests.networks.test_vit import vit

# Rows and columns of the place that decides, of 32 x 32 pixels.
PLACE = (slice(8, 16), slice(20, 28))


class LooksAtOnePlace(nn.Module):
    """Its embedding is the pixels of :data:`PLACE`, and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.largest_batch = 0

    def forward(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
        self.largest_batch = max(self.largest_batch, len(x))
        return torch.cat([x.mean((1, 2))[(..., *PLACE)].flatten(1), torch.ones(len(x), 1)], dim=1)

    def local(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x.mean(1), 4)


def inside(heat: FloatArray) -> float:
    """The share of all heat that lies at the place, or within a square of it."""
    rows, columns = (slice(one.start - 4, one.stop + 4) for one in PLACE)
    return float(heat[rows, columns].sum() / heat.sum())


@pytest.mark.parametrize("mate", [None, planes(1, 1, seed=0)[0] * 0.9], ids=["alone", "with a mate"])
def test_hiding_what_decides_is_seen(mate: Tensor | None) -> None:
    image = planes(1, 2)[0]
    heat = occlusion_heat(LooksAtOnePlace(), image, mate, patch=4, stride=2)
    assert (heat.shape, heat.dtype) == ((32, 32), np.float32)
    assert (float(heat.min()), float(heat.max())) == (0.0, 1.0)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert PLACE[0].start <= row < PLACE[0].stop
    assert PLACE[1].start <= column < PLACE[1].stop
    assert inside(heat) == pytest.approx(1.0)


def test_batches_bound_the_memory_and_change_nothing() -> None:
    network, image = LooksAtOnePlace(), planes(1, 1)[0]
    first = occlusion_heat(network, image, patch=8, stride=5, batch_size=3)
    assert network.largest_batch == 3
    np.testing.assert_allclose(occlusion_heat(network, image, patch=8, stride=5, batch_size=100), first, atol=1e-6)


def test_every_pixel_is_hidden_at_least_once() -> None:
    """Also where steps do not divide the image: the last square stands at the edge."""

    class Corner(LooksAtOnePlace):
        def forward(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
            return torch.cat([x[..., 31, 31].flatten(1), torch.ones(len(x), 1)], dim=1)

    heat = occlusion_heat(Corner(), planes(1, 1)[0], patch=10, stride=9)
    assert float(heat[31, 31]) == 1.0


def test_a_network_that_sees_nothing_has_no_hot_place() -> None:
    class Blind(LooksAtOnePlace):
        def forward(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
            return torch.ones(len(x), 4)

    assert not occlusion_heat(Blind(), planes(1, 1)[0], patch=8, stride=8).any()


@pytest.mark.parametrize("wrong", [{"patch": 33}, {"stride": 0}, {"patch": 4, "stride": 5}, {"batch_size": 0}])
def test_squares_that_cannot_cover_an_image_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot cover"):
        occlusion_heat(LooksAtOnePlace(), planes(1, 1)[0], **wrong)


@torch.no_grad()
def test_queries_show_where_they_look() -> None:
    """A query for red finds the one red place."""
    image = torch.zeros(2, 3, 32, 32)
    image[:, 0, 8:16, 20:28] = 1
    queries = KeyQueries(2, 1, 3)
    queries.keys.weight[:] = torch.eye(3)
    queries.queries[1, 0] = torch.tensor([20.0, 0, 0])
    heat = query_heat(LooksAtOnePlace(), image, queries, 1)
    assert (heat.shape, heat.dtype, float(heat.max())) == ((32, 32), np.float32, 1.0)
    assert inside(heat) > 0.99
    # The other modality's query asks for nothing: it looks everywhere alike.
    queries.queries[0] = 0
    assert not query_heat(LooksAtOnePlace(), image, queries, 0).any()


def test_queries_are_read_from_the_state_of_an_alignment() -> None:
    queries = KeyQueries(3, 2, 8)
    state = {f"alignments.0.student.{name}": value for name, value in queries.state_dict().items()}
    found = read_queries(state | {"other": torch.zeros(1)}, "alignments.0.student.")
    assert torch.equal(found.queries, queries.queries)
    assert torch.equal(found.keys.weight, queries.keys.weight)
    with pytest.raises(EncoderError, match="train with alignment") as caught:
        read_queries(state)
    assert caught.value.reason == "QUERIES_MISSING"


def looking_at(network: VisionTransformer, token: int) -> VisionTransformer:
    """All tokens attend to one alone: its position makes its key the only long one, whatever the image holds."""
    with torch.no_grad():
        network.positions.zero_()
        network.positions[:, token, 0] = 1000
        for block in network.blocks:
            width = network.dimension
            block.attention.inputs.weight[: 2 * width].zero_()
            block.attention.inputs.bias[:width] = 1.0
            block.attention.inputs.weight[width : 2 * width, 0] = 10.0
    return network


@pytest.mark.parametrize("patch", [0, 6, 15])
def test_rolled_out_attention_shows_what_all_tokens_attend_to(patch: int) -> None:
    network = looking_at(vit(), 1 + patch)
    heat = rollout_heat(network, planes(1, 3)[0], batch_size=2)
    assert (heat.shape, heat.dtype) == ((32, 32), np.float32)
    row, column = (8 * place + 4 for place in divmod(patch, 4))
    assert float(heat[row - 1 : row + 1, column - 1 : column + 1].mean()) > 0.9
    # Half of what is passed on comes past attention, from every patch alike: that is the floor.
    assert float(np.median(heat)) < 0.3


def test_rolling_out_takes_adapted_networks_and_leaves_them_as_they_were() -> None:
    network = stirred(adapted()).train()
    image = planes(1, 2)[0]
    first, second = (rollout_heat(network, image) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert network.training
    hooks = [len(part._forward_pre_hooks) for part in network.modules()]
    assert not any(hooks)


def test_a_convolutional_network_has_no_attention() -> None:
    with pytest.raises(EncoderError, match="use occlusion") as caught:
        rollout_heat(LooksAtOnePlace(), planes(1, 1)[0])
    assert caught.value.reason == "NO_ATTENTION"


def test_the_cheapest_map_is_chosen() -> None:
    image, queries = planes(1, 1)[0], KeyQueries(1, 2, 192)
    transformer, convolutional = vit(), LooksAtOnePlace()
    for found, expected in (
        (identity_heat(transformer, image, queries=queries), query_heat(transformer, image, queries, 0)),
        (identity_heat(transformer, image), rollout_heat(transformer, image)),
        (identity_heat(convolutional, image), occlusion_heat(convolutional, image)),
    ):
        np.testing.assert_array_equal(found, expected)
