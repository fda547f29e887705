"""The plain Vision Transformer: its face, its sizes, its positions at other sizes, its norms in half precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from config.errors import EncoderError
from inference import networks
from inference.networks.vit import LayerNorm, LowRank, ParallelLinear, Shape, VisionTransformer
from tests.networks.faces import SIZE, assert_has_the_face, assert_its_twin_agrees, planes

TINY: dict[str, Any] = {"size": SIZE, "patch": 8, "depth": 2}


def vit(**settings: Any) -> VisionTransformer:
    torch.manual_seed(1)
    found = networks.build("vit-tiny", TINY | settings)
    assert isinstance(found, VisionTransformer)
    return found


def test_it_has_the_face_of_a_network() -> None:
    assert_has_the_face(vit())


def test_its_onnx_twin_agrees() -> None:
    assert_its_twin_agrees(vit())


@pytest.mark.parametrize(
    ("name", "millions", "width", "heads"),
    # A. Dosovitskiy et al. and H. Touvron et al. count 5.7, 22 and 86 with a classifier of 1000; here an MLP instead.
    [("vit-tiny", 5.6, 192, 3), ("vit-small", 22.0, 384, 6), ("vit-base", 87.0, 768, 12)],
)
def test_sizes_are_those_of_the_names(name: str, millions: float, width: int, heads: int) -> None:
    with torch.device("meta"):
        network: Any = networks.build(name, {})
    assert sum(one.numel() for one in network.parameters()) == pytest.approx(millions * 1e6, rel=0.01)
    assert (network.dimension, network.blocks[0].attention.heads, len(network.blocks)) == (width, heads, 12)


@torch.no_grad()
def test_the_embedding_is_made_of_the_local_map() -> None:
    network = vit().eval()
    x = planes(2, 3)
    assert network.local(x).shape == (2, 192, 4, 4)
    torch.testing.assert_close(network.embed(network.local(x)), network(x), rtol=0, atol=0)


@torch.no_grad()
def test_a_patch_is_found_where_it_is() -> None:
    """Row and column of the local map are those of the image."""
    network = vit(depth=1).eval()
    x = planes(1, 1)
    other = x.clone()
    other[..., 8:16, 24:32] = 1 - other[..., 8:16, 24:32]
    change = (network.local(other) - network.local(x)).norm(dim=1)[0]
    assert divmod(int(change.argmax()), 4) == (1, 3)


@torch.no_grad()
def test_another_size_takes_interpolated_positions() -> None:
    network = vit().eval()
    small, large = planes(2, 1, 32), planes(2, 1, 64)
    assert network.local(large).shape == (2, 192, 8, 8)
    assert (functional.cosine_similarity(network(small), network(large)) > 0.5).all()
    # A ramp across the table stays one: 4 steps become 8, and its ends stay in place.
    network.positions[:, 1:] = torch.arange(4.0).repeat(4)[:, None]
    across = network._positions(torch.zeros(1, 192, 8, 8))[0, 1:, 0].view(8, 8)
    assert (across.diff(dim=1) > 0).all()
    torch.testing.assert_close(across[0], across[7])


@torch.no_grad()
def test_positions_matter() -> None:
    network = vit().eval()
    x = planes(1, 1)
    assert not torch.allclose(network(x), network(x.roll(8, -1)), atol=1e-4)


def test_norms_are_computed_in_full_precision() -> None:
    """Squares of 300 overflow in half precision, whose largest number is 65504."""
    norm = LayerNorm(4).half()
    found = norm(torch.tensor([[300.0, -300.0, 300.0, -300.0]], dtype=torch.float16))
    assert found.dtype == torch.float16
    torch.testing.assert_close(found, torch.tensor([[1.0, -1.0, 1.0, -1.0]], dtype=torch.float16))


@pytest.mark.parametrize("grads", [True, False], ids=["training", "inference"])
def test_a_low_rank_addition_is_that_of_the_matrices(grads: bool) -> None:
    """Each image's ``W + B A``, for P layers at once."""
    torch.manual_seed(2)
    layer = ParallelLinear(5, 7, 3)
    x = torch.randn(6, 4, 5)
    added = LowRank(torch.randn(6, 5, 6), [torch.randn(6, 2, 7) for _ in range(3)], 2)
    with torch.set_grad_enabled(grads):
        found = layer.parallel(x, added)
    for row in range(6):
        for part in range(3):
            own = slice(2 * part, 2 * part + 2)
            matrix = layer.weight[7 * part : 7 * part + 7].T + added.down[row, :, own] @ added.up[part][row]
            expected = x[row] @ matrix + layer.bias[7 * part : 7 * part + 7]
            torch.testing.assert_close(found[part][row], expected)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"size": 30}, "30 pixels"),
        ({"patch": 0}, "patches of 0"),
        ({"depth": 0}, "heads"),
        ({"rank": 8}, "rank"),
    ],
)
def test_settings_that_it_cannot_take_are_named(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(EncoderError, match=told) as caught:
        networks.build("vit-tiny", TINY | settings)
    assert caught.value.reason == "NETWORK_SETTINGS"


def test_a_width_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match="3 heads"):
        Shape(100, 3, 1)
