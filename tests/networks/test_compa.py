"""The modality adapter: nothing at first, yet alive; what it makes of a context; how its options differ."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from config.errors import EncoderError
from inference import networks
from inference.networks.compa import Codebook, FactorGenerator, PatchContext
from inference.networks.mami import AdaptedTransformer
from tests.networks.faces import SIZE, planes

TINY: dict[str, Any] = {"size": SIZE, "patch": 8, "depth": 2}
FORMS: dict[str, dict[str, Any]] = {
    "sum": {},
    "concat": {"reading": "concat"},
    "scan": {"context": "scan"},
    "no codebook": {"codebook": False},
    "rank 8": {"rank": 8},
    "rank 32": {"rank": 32},
    "8 codes": {"codes": 8},
    "128 codes": {"codes": 128, "reading": "concat"},
    "discrete": {"discrete": True, "modalities": 3},
    "discrete, scan": {"discrete": True, "modalities": 3, "context": "scan"},
}
LABELS = torch.tensor([0, 2])


def adapted(**settings: Any) -> AdaptedTransformer:
    torch.manual_seed(1)
    found = networks.build("mami-tiny", TINY | settings)
    assert isinstance(found, AdaptedTransformer)
    return found


def stirred(network: AdaptedTransformer) -> AdaptedTransformer:
    """As after some training: the generator makes something of the modality."""
    torch.manual_seed(3)
    with torch.no_grad():
        for part in (network.adapter.generator.generated, network.adapter.generator.static):
            part.normal_(std=0.2)
    return network


def gradients(network: AdaptedTransformer) -> dict[str, float]:
    """The largest gradient of each part of the adapter, after one backward pass of a loss that has no flat place."""
    network.zero_grad()
    target = torch.randn(2, network.dimension, generator=torch.Generator().manual_seed(5))
    (network(planes(2, 2), LABELS) * target).sum().backward()
    return {name: float(cast(Tensor, one.grad).abs().max()) for name, one in network.adapter.named_parameters()}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_at_step_0_it_is_the_plain_network_to_the_bit(form: str, training: bool) -> None:
    torch.manual_seed(1)
    plain = networks.build("vit-tiny", TINY)
    network = adapted(**FORMS[form])
    x = planes(2, 2)
    with torch.set_grad_enabled(training):
        found, expected = network.train(training)(x, LABELS), plain.train(training)(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("form", FORMS)
def test_at_step_0_it_is_alive(form: str) -> None:
    """B learns at once and, through it, everything else from the next step on."""
    network = adapted(**FORMS[form])
    generator = network.adapter.generator
    gradients(network)
    for table in (generator.static, generator.generated):
        units = cast(Tensor, table.grad).view(64, -1, 2, 11, generator.rank * 192 // 64)
        assert (units[..., 3:6, :].abs().amax((0, 1, 4)) > 0).all()
        assert (units[..., 7:11, :].abs().amax((0, 1, 4)) > 0).all()
    torch.optim.SGD(network.parameters(), 0.1).step()
    idle = [name for name, largest in gradients(network).items() if largest == 0]
    assert idle == []


def test_with_a_and_b_zero_it_would_be_dead() -> None:
    """The initialisation that suggests itself: then no part of the adapter ever has a gradient."""
    network = adapted()
    with torch.no_grad():
        network.adapter.generator.static.zero_()
    for _ in range(2):
        assert set(gradients(network).values()) == {0.0}
        torch.optim.SGD(network.parameters(), 0.1).step()


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_it_has_no_more_than_1_3_times_the_parameters(size: str) -> None:
    with torch.device("meta"):
        plain, network = (networks.build(f"{family}-{size}", {}) for family in ("vit", "mami"))
    ratio = sum(one.numel() for one in network.parameters()) / sum(one.numel() for one in plain.parameters())
    assert 1.0 < ratio <= 1.3


@torch.no_grad()
def test_images_of_other_kinds_are_adapted_otherwise() -> None:
    """Of what the static factors add, all images have the same; of what is generated, each its own."""
    network = stirred(adapted()).eval()
    maps = network.patches(torch.cat([planes(1, 1)[0], planes(1, 1, seed=9)[0]]))[:, None]
    first, second = network.adapter(maps, None)[0].attention.down
    assert not torch.allclose(first, second, atol=1e-3)
    network.adapter.generator.generated.zero_()
    first, second = network.adapter(maps, None)[0].attention.down
    torch.testing.assert_close(first, second)


@torch.no_grad()
def test_the_context_of_a_slice_is_its_own_and_that_of_a_scan_is_the_mean() -> None:
    maps = torch.randn(2, 3, 192, 4, 4)
    of_slices = adapted().adapter.modality(maps, None)
    of_scans = adapted(context="scan").adapter.modality(maps, None)
    assert of_slices.shape == of_scans.shape == (6, 192)
    without = {"codebook": False}
    of_slices = adapted(**without).adapter.modality(maps, None)
    of_scans = adapted(context="scan", **without).adapter.modality(maps, None)
    torch.testing.assert_close(of_slices.view(2, 3, 192).mean(1), of_scans.view(2, 3, 192)[:, 1])


@torch.no_grad()
@pytest.mark.parametrize("context", ["slice", "scan"])
def test_a_scan_is_adapted_as_its_slices_are(context: str) -> None:
    """A scan of one slice many times is that slice; several scans in a batch stay apart."""
    network = stirred(adapted(context=context)).eval()
    x = planes(2, 1)
    torch.testing.assert_close(network(x.expand(-1, 3, -1, -1, -1)), network(x), rtol=1e-4, atol=1e-4)
    both = network(planes(2, 3))
    torch.testing.assert_close(both[1:], network(planes(2, 3)[1:]), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_context_is_the_mean_of_what_two_convolutions_see() -> None:
    torch.manual_seed(1)
    context = PatchContext(6)
    maps = torch.randn(2, 6, 4, 4)
    second = torch.nn.Conv2d(6, 6, 1)
    second.weight[:], second.bias[:] = context.image.weight[..., None, None], context.image.bias
    seen = second(torch.nn.functional.leaky_relu(context.patch(maps), 0.1)).mean((2, 3))
    torch.testing.assert_close(context(maps), seen)


@torch.no_grad()
def test_both_readings_of_the_codebook() -> None:
    torch.manual_seed(1)
    context = torch.randn(3, 12)
    summed, joined = Codebook(12, 4, "sum"), Codebook(12, 4, "concat")
    assert (summed.codes.shape, joined.codes.shape) == ((4, 12), (4, 3))
    weights = summed.weights(context)
    torch.testing.assert_close(weights.sum(1), torch.ones(3))
    torch.testing.assert_close(summed(context), sum(weights[:, k, None] * summed.codes[k] for k in range(4)))
    weights = joined.weights(context)
    torch.testing.assert_close(joined(context)[:, 3:6], weights[:, 1, None] * joined.codes[1])
    # Where the codes do not fill the width, the modality is as wide as they are.
    assert Codebook(12, 5, "concat")(context).shape == (3, Codebook(12, 5, "concat").dimension) == (3, 10)


@torch.no_grad()
def test_a_group_of_the_generator_sees_its_part_of_the_trunk_alone() -> None:
    from inference.networks.compa import AdapterSettings

    torch.manual_seed(1)
    generator = FactorGenerator(6, 8, 1, 8, AdapterSettings(rank=2, groups=4))
    generator.generated.normal_()
    trunk: list[Tensor] = []
    generator.trunk.register_forward_hook(lambda module, inputs, output: trunk.append(output))
    made = []
    for _ in range(2):
        made.append(generator(torch.ones(1, 6))[0].attention.down[0].flatten()[:16])
        generator.trunk.register_forward_hook(lambda module, inputs, output: output + torch.eye(8)[:1])
    changed = (made[0] - made[1]).abs() > 1e-6
    assert changed.view(4, -1).any(1).tolist() == [True, False, False, False]


@torch.no_grad()
def test_only_discrete_labels_are_looked_at() -> None:
    labelled, free = (stirred(adapted(**form)).eval() for form in (FORMS["discrete"], {}))
    x = planes(1, 1).expand(2, -1, -1, -1, -1)
    first, second = labelled(x, LABELS)
    assert not torch.allclose(first, second, atol=1e-3)
    torch.testing.assert_close(*free(x, LABELS))


def test_discrete_labels_are_needed() -> None:
    with pytest.raises(ValueError, match="modality label"):
        adapted(discrete=True)(planes())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"reading": "product"}, "'product'"),
        ({"context": "study"}, "'study'"),
        ({"rank": 0}, "rank"),
        ({"groups": 48}, "48 groups"),
        ({"codes": 200, "reading": "concat"}, "200 codes"),
        ({"bases": 32}, "bases"),
    ],
)
def test_settings_that_it_cannot_take_are_named(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(EncoderError, match=told) as caught:
        networks.build("mami-tiny", TINY | settings)
    assert caught.value.reason == "NETWORK_SETTINGS"
